"""Copy every file of a finished task into the bucket, prove each, write the manifest last, and only then say so."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from infra.http import HttpError
from infra.log import logger
from infra.store_errors import StoreError
from worker import messages
from worker.copier import Copier
from worker.jobs import retry
from worker.jobs.machine import Event, Step
from worker.jobs.model import OTHER, Job, ResultFile, State
from worker.jobs.transfer import Transfer
from worker.kling.errors import KlingError, ResourceMissing
from worker.kling.wire import Output, Task, TaskStatus, read_task
from worker.ports import Clock, Queue
from worker.provider import Provider, known
from worker.sent import SliceOver
from worker.source import LeaseLost, NotHad, Unproven
from worker.store.attention import UNSTORABLE
from worker.store.buckets import AWAY
from worker.store.moves import Also, Learned, Moved
from worker.store.repository import Repository
from worker.tasks.begin import Begin
from worker.tasks.book import LEASE, Book
from worker.tasks.complaints import Complaints
from worker.tasks.record import Shortfall, afterwards, in_their_places, of_what_there_is, record
from worker.tasks.unknown import Patience

log = logger(__name__)

#: What a job's row says while the store refuses a file of it in a way that may pass.
_REFUSED = "refused"
#: So often a task that names nothing but what nobody knows is asked for again: its films may be named a little later.
_LOOKED_FOR = 3
_NO_ERROR: dict[str, Any] = {"error_code": None, "error_message": None}


@dataclass(frozen=True)
class Fresh:
    """A job that has just come to be copied, held by the process that brought it there: nothing was begun before."""

    job: Job
    owner: str  #: of its lease
    task: Task


def archive(  # noqa: PLR0913 - a task names all that it is handed
    job_id: str,
    *,
    begin: Begin,
    store: Repository,
    provider: Provider,
    copier: Copier,
    complaints: Complaints,
    queue: Queue,
    clock: Clock,
    fresh: Fresh | None = None,
) -> None:
    """Archive a job whose task succeeded. Does nothing while somebody else does, or in any other state."""
    until = monotonic() + copier.slice_seconds
    owner = fresh.owner if fresh else uuid.uuid4().hex
    job = fresh.job if fresh else store.lease(job_id, owner, clock(), LEASE)
    if job is None or _rests(job, owner, store=store, clock=clock):
        return
    begun, copier = [] if fresh else store.transfers.of(job.id), copier.into(job.bucket)
    with Book(job.id, owner, begun, store=store, clock=clock) as book:
        if job.begun == begin.most + 1:  # once only: clearing away may be what kills
            _clear(job, book, store=store, copier=copier)
        if not begin.may(job):
            _afterwards(job.id, store=store, copier=copier, clock=clock)
            return
        try:
            stored = [] if fresh else store.files([job.id])[job.id]
            book.faults = {} if fresh else store.manifests.left_out(job.id)
            task = fresh.task if fresh else _task(job, stored, book, store=store, provider=provider, clock=clock)
            task = in_their_places(task, stored)
            files = _copy_all(job, task, stored, book, store=store, copier=copier, until=until)
            _do_without(job, task, book, complaints, store=store, copier=copier)
            moved = _finish(job, book, task, files, store=store, provider=provider, copier=copier, clock=clock)
        except LeaseLost:
            log.warning("archive.lease_lost", job=job.id)
            return
        except SliceOver:
            if not book.restarts:
                _go_on(job, book, store=store, queue=queue, clock=clock)
                return
            fault = Unproven("a file had to be begun anew: its source did not go on with what it had begun")
            moved = _failed(job, book, fault, store=store, copier=copier, clock=clock)
        except StoreError as fault:
            moved = _not_stored(job, book, fault, store=store, clock=clock)
        except (Unproven, HttpError, KlingError) as fault:
            moved = _failed(job, book, fault, store=store, copier=copier, clock=clock)
        if moved:
            log.info("job.moved", job=job.id, state=moved.job.state)
            messages.send(queue, messages.after(job.id, moved.step, moved.deliveries, moved.woken))


def _task(
    job: Job, stored: Sequence[ResultFile], book: Book, *, store: Repository, provider: Provider, clock: Clock
) -> Task:
    """The finished task: as the provider last said it, or asked anew once its links have failed. Where no answer comes
    what it last said will do if all that is waited for is `stored`; so it will where the rest was settled.
    """
    kept = read_task(200, {}, answer) if (answer := store.answer(job.id)) else None
    if kept and (not job.archive_attempts or (book.faults and _is_all(kept, stored))):
        return kept
    try:
        task, answer = provider.query(job, clock())
    except (HttpError, KlingError) as fault:
        if kept is None or not _is_all(kept, stored):
            raise
        log.warning("archive.not_asked", job=job.id, reason=str(fault))
        return kept
    if task.status is TaskStatus.SUCCEEDED:
        store.set_answer(job.id, answer)
    return task


def _is_all(task: Task, files: Sequence[ResultFile]) -> bool:
    """Whether `files` are all that a task made, but for what nobody knows."""
    known = [one for one in in_their_places(task, files).outputs if one.kind != OTHER]
    there = {(file.kind, file.variant, file.ordinal) for file in files}
    return bool(known) and all((one.kind, one.variant, one.ordinal) in there for one in known)


def _copy_all(
    job: Job, task: Task, files: Sequence[ResultFile], book: Book, *, store: Repository, copier: Copier, until: float
) -> list[ResultFile]:
    """All files of the task, after copying those that are not among `files`, which are proven already."""
    _look_for_files(job, task, files)
    stored = {(file.kind, file.variant, file.ordinal): file for file in files}
    already = len(stored)
    if stored:
        book.stored_at = store.manifests.stored_at(job.id)
    book.before = sum(file.size for file in files)
    faults: list[Unproven] = []
    patience, left = Patience(job, task, book), frozenset(book.faults)
    for output in task.outputs:
        place = (output.kind, output.variant, output.ordinal)
        if place in stored or place in left:
            continue
        if refusal := patience.refusal(output):
            book.faults[place] = refusal
            continue
        if len(stored) > already and monotonic() > until:
            raise SliceOver
        at = _still_ours(book.begun.get(place), job, output, copier=copier, book=book)
        try:
            with patience.counted(output):
                file = copier.copy(job, output, at, book, book.progress, until=until)
        except Unproven as fault:  # the others may hold, and were paid for
            book.faults[place] = str(fault)
            if patience.waits(output, fault):
                faults.append(fault)
            continue
        book.add(file)
        log.info("file.proven", job=job.id, key=file.key, size=file.size, sha256=file.sha256)
        if file.damaged_frames:
            log.warning("file.damaged", job=job.id, key=file.key, frames=file.damaged_frames)
        stored[place] = file
    if faults:
        raise next((fault for fault in faults if isinstance(fault, NotHad)), faults[0])  # what is waited for longer
    return list(stored.values())


def _look_for_files(job: Job, task: Task, files: Sequence[ResultFile]) -> None:
    """Raises `Unproven` where a task names no file, or nothing but what nobody knows and its films may still come."""
    if not task.outputs:
        raise Unproven("the provider says that the task succeeded, and names no file")
    kinds = {output.kind for output in task.outputs} | {file.kind for file in files}
    if kinds == {OTHER} and job.archive_attempts < _LOOKED_FOR:
        raise NotHad("the provider says that the task succeeded, and names no file of a kind that is known")


def _do_without(job: Job, task: Task, book: Book, complaints: Complaints, *, store: Repository, copier: Copier) -> None:
    """Settle and tell what nobody knows and could not be had, and leave nothing of what came of it."""
    if book.faults:
        book.leave_out()
    if book.faults or task.left_out:
        complaints.lost(job, book.faults, task.left_out)
    if book.faults:
        _clear(job, book, store=store, copier=copier)


def _still_ours(begun: Transfer | None, job: Job, output: Output, *, copier: Copier, book: Book) -> Transfer | None:
    """What was begun of an output, unless settings have changed since and it belongs under another key now."""
    if begun is None or copier.is_place(begun, job, output):
        return begun
    try:
        copier.into(begun.bucket).clear(begun, book.alive)
    except StoreError as reason:
        book.unsure(reason)
        if begun.bucket == copier.bucket.bucket and not reason.forbids:
            raise
        log.warning("archive.not_cleared", bucket=begun.bucket, reason=str(reason))  # it may be another store's by now
    book.drop(begun)
    return None


def _finish(
    job: Job,
    book: Book,
    task: Task,
    files: list[ResultFile],
    *,
    store: Repository,
    provider: Provider,
    copier: Copier,
    clock: Clock,
) -> Moved | None:
    short = Shortfall(State.ARCHIVED, None, book.faults) if book.faults else None
    now = book.stored_at or clock()
    written: dict[str, Any] = {
        **record(job, task, files, store=store, copier=copier, now=now, short=short, alive=book.done)
    }
    request = known(store.request(job.id))
    learned = _learned(provider.kind(job, request), task) if request else None
    if job.error_code:  # the store had refused it for a while
        written |= _NO_ERROR
    moved = store.move(job, Event.FILES_PROVEN, clock(), changes=written, also=Also(learned=learned, holder=book.owner))
    _answers(job, store=store, clock=clock)
    return moved


def _go_on(job: Job, book: Book, *, store: Repository, queue: Queue, clock: Clock) -> None:
    """Send the message for the next slice. If the bucket took something, jobs that wait for it are made due."""
    book.put_off(clock(), **(_NO_ERROR if book.brought else {}))
    if book.brought:
        _answers(job, store=store, clock=clock)
    messages.send(queue, [messages.for_step(Step.ARCHIVE, job.id)])


def _answers(job: Job, *, store: Repository, clock: Clock) -> None:
    """Write down that the bucket which this job waited for takes files. If that fails others try it in time."""
    if job.error_code != AWAY:
        return
    try:
        store.buckets.answers(job.bucket, clock())
    except SQLAlchemyError as fault:
        log.warning("bucket.not_said", bucket=job.bucket, reason=type(fault).__name__)


def _learned(kind: str, task: Task) -> Learned | None:
    """How long the task took, by the provider's own clock: so long the next one of its kind is expected to take."""
    began, ended = task.created_at_ms, task.updated_at_ms
    if not began or not ended or ended <= began:
        return None
    return Learned(kind, min((ended - began) / 1000, retry.RUNNING_HOURS * 3600))


def _afterwards(job_id: str, *, store: Repository, copier: Copier, clock: Clock) -> None:
    if ended := store.get(job_id):
        afterwards(ended, store=store, copier=copier, clock=clock)


def _failed(job: Job, book: Book, fault: Exception, *, store: Repository, copier: Copier, clock: Clock) -> Moved | None:
    lookups = job.lookups + 1 if isinstance(fault, ResourceMissing) else 0
    # A file that came and was bad is not likely to be good tomorrow; one that did not come may still come.
    had = isinstance(fault, Unproven) and not isinstance(fault, NotHad)
    attempts = _attempts(job, had=had)
    gone = _is_gone(job, lookups, store=store, now=clock())
    if not gone and attempts <= len(retry.ARCHIVE_AGAIN):
        wait = fault.wait if isinstance(fault, Unproven | KlingError) else 0
        # An attempt that brought more of the file is no failure: a source that breaks off again and again gets there.
        counts = not (book.grew and isinstance(fault, NotHad))
        after = attempts if counts else None
        _again(job, book, str(fault), clock=clock, attempts=after, wait=wait, lookups=lookups)
        return None
    log.error("archive.given_up", job=job.id, attempts=attempts, reason=str(fault))
    _clear(job, book, store=store, copier=copier)
    try:
        book.done()  # or the manifest of what there is might take the place of a better one
    except LeaseLost:
        return None
    short = Shortfall(State.FAILED if had else State.EXPIRED, str(fault), book.faults)
    written = of_what_there_is(job, short, store=store, copier=copier, now=clock())
    changes = {"archive_attempts": attempts, "error_code": "unprovable", "error_message": str(fault), **written}
    event, also = Event.FILES_UNPROVABLE if had else Event.TASK_LOST, Also(holder=book.owner)
    return store.move(job, event, clock(), changes=changes, also=also)


def _rests(job: Job, owner: str, *, store: Repository, clock: Clock) -> bool:
    """Whether the job goes on waiting for a bucket that failed: another job tries it, or it is not time to."""
    if job.error_code != AWAY or _is_late(job, clock()):
        return False
    until = store.buckets.rests(job.bucket, clock())
    if until:
        store.put_off(job.id, owner, until + timedelta(seconds=retry.vary(retry.BUCKET_SPREAD)))
    return until is not None


def _not_stored(job: Job, book: Book, fault: StoreError, *, store: Repository, clock: Clock) -> Moved | None:
    """Our own bucket failed: try again until the provider has deleted the result, since it was paid for.

    The reason goes into the row, by which a person is told.
    """
    now = clock()
    said = {"error_code": _word_for(job, fault, now), "error_message": str(fault)}
    if _is_late(job, now):
        log.error("archive.given_up", job=job.id, reason=str(fault))
        return store.move(job, Event.TASK_LOST, now, changes=said, also=Also(holder=book.owner))
    log.warning("archive.again", job=job.id, reason=str(fault))
    if said["error_code"] == AWAY:
        due = store.buckets.failed(job.bucket, fault, now)
    elif fault.lasts or job.error_code in {_REFUSED, UNSTORABLE}:
        due = retry.bucket_again(job.updated_at, now)
    else:
        due = retry.after(retry.BUCKET_AGAIN, 1, now) or now
    book.put_off(due, lookups=0, **said)
    return None


def _word_for(job: Job, fault: StoreError, now: datetime) -> str:
    """The error code of the row. One refusal of a file calls nobody; refusals for longer than `REFUSED_TOLD` do."""
    if fault.is_of_bucket and not fault.is_aside:
        return AWAY
    again = job.error_code in {_REFUSED, UNSTORABLE}
    long = again and now - job.updated_at >= timedelta(seconds=retry.REFUSED_TOLD)
    return UNSTORABLE if fault.lasts or long else _REFUSED


def _is_late(job: Job, now: datetime) -> bool:
    return retry.is_deleted(job.submitted_at or job.created_at, now)


def _attempts(job: Job, *, had: bool) -> int:
    """How many attempts have failed now. The last `ARCHIVE_LAST` count only files that came and proved bad (`had`)."""
    most = len(retry.ARCHIVE_AGAIN) - retry.ARCHIVE_LAST
    return job.archive_attempts + 1 if had else max(job.archive_attempts, min(job.archive_attempts + 1, most))


def _is_gone(job: Job, lookups: int, *, store: Repository, now: datetime) -> bool:
    """Whether the provider no longer has the result: it has said so for hours, or deletes what is so old."""
    if lookups and retry.is_lost(lookups, store.missing_since(job, now), now):
        return True
    return _is_late(job, now)


def _clear(job: Job, book: Book, *, store: Repository, copier: Copier) -> None:
    """Leave nothing under way of a job that is given up, or that can do without it."""
    try:
        for transfer in store.transfers.of(job.id):
            copier.into(transfer.bucket).clear(transfer, book.alive)
            book.drop(transfer)
    except (StoreError, LeaseLost) as reason:
        if isinstance(reason, StoreError):
            book.unsure(reason)
        log.warning("archive.not_cleared", job=job.id, reason=str(reason))


def _again(
    job: Job,
    book: Book,
    reason: str,
    *,
    clock: Clock,
    attempts: int | None,
    wait: float = 0,
    lookups: int = 0,
) -> None:
    """Put the job off after a failed attempt. `attempts`: so many failed; None where this one does not count."""
    log.warning("archive.again", job=job.id, reason=reason)
    schedule = retry.BUCKET_AGAIN if attempts is None else retry.ARCHIVE_AGAIN
    due = retry.after(schedule, attempts or 1, clock(), endless=True) or clock()
    due = max(due, clock() + timedelta(seconds=wait))
    count = job.archive_attempts if attempts is None else attempts
    book.put_off(due, archive_attempts=count, lookups=lookups)
