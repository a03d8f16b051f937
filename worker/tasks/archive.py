"""Copy every file of a finished task into the bucket, prove each, write the manifest last, and only then say so."""

from __future__ import annotations

import uuid
from datetime import timedelta
from time import monotonic

from infra.http import HttpError
from infra.log import logger
from infra.object_store import StoreError
from worker import messages
from worker.copier import Copier, LeaseLost, Unproven
from worker.jobs import keys, retry
from worker.jobs.machine import Event
from worker.jobs.manifest import manifest
from worker.jobs.model import Job, ResultFile
from worker.kling.errors import KlingError, ResourceMissing
from worker.kling.wire import Task, TaskStatus, read_task
from worker.ports import Clock, Queue
from worker.provider import Provider, decode
from worker.store.repository import Moved, Repository

log = logger(__name__)

#: How long a copy may be silent before another worker takes it up. Renewed while bytes flow.
LEASE = timedelta(seconds=20)
#: Seconds between two signs of life.
_SIGN_SECONDS = 1.0


def archive(job_id: str, *, store: Repository, provider: Provider, copier: Copier, queue: Queue, clock: Clock) -> None:
    """Archive a job whose task succeeded. Does nothing while somebody else does, or in any other state."""
    owner = uuid.uuid4().hex
    job = store.lease(job_id, owner, clock(), LEASE)
    if job is None:
        return
    try:
        task = _task(job, store=store, provider=provider, clock=clock)
        files = _copy_all(job, owner, task, store=store, copier=copier, clock=clock)
        moved = _finish(job, task, files, store=store, copier=copier, clock=clock)
    except LeaseLost:
        log.warning("archive.lease_lost", job=job.id)
        return
    except StoreError as fault:
        # Our own bucket: waiting for it is free, and giving up would lose what was paid for.
        _again(job, owner, str(fault), store=store, clock=clock, counts=False)
        return
    except (Unproven, HttpError, KlingError) as fault:
        moved = _failed(job, owner, fault, store=store, clock=clock)
    if moved:
        log.info("job.moved", job=job.id, state=moved.job.state)
        messages.send(queue, messages.after(job.id, moved.step, moved.deliveries))


def _task(job: Job, *, store: Repository, provider: Provider, clock: Clock) -> Task:
    """The finished task: as the provider last said it, or asked anew once its links have failed."""
    if not job.archive_attempts and (kept := store.answer(job.id)):
        return read_task(200, {}, kept)
    task, answer = provider.query(job, clock())
    if task.status is TaskStatus.SUCCEEDED:
        store.set_answer(job.id, answer)
    return task


def _copy_all(job: Job, owner: str, task: Task, *, store: Repository, copier: Copier, clock: Clock) -> list[ResultFile]:
    if not task.outputs:
        raise Unproven("the provider says that the task succeeded, and names no file")
    stored = {(file.kind, file.variant, file.ordinal): file for file in store.files([job.id])[job.id]}
    before = sum(file.size for file in stored.values())
    for output in task.outputs:
        if (output.kind, output.variant, output.ordinal) in stored:
            continue
        sign = _Sign(job.id, owner, before, store=store, clock=clock)
        file = copier.copy(job, output, sign)
        sign.give(file.size, file.size)
        store.add_file(job.id, file, clock())
        log.info("file.proven", job=job.id, key=file.key, size=file.size, sha256=file.sha256)
        stored[file.kind, file.variant, file.ordinal] = file
        before += file.size
    return list(stored.values())


class _Sign:
    """The sign of life of a copy: renews the lease and shows the bytes, now and then."""

    def __init__(self, job_id: str, owner: str, before: int, *, store: Repository, clock: Clock) -> None:
        self._job_id = job_id
        self._owner = owner
        self._before = before
        self._store = store
        self._clock = clock
        self._last = monotonic()

    def __call__(self, copied: int, length: int | None) -> None:
        if monotonic() - self._last >= _SIGN_SECONDS:
            self.give(copied, length)

    def give(self, copied: int, length: int | None) -> None:
        self._last = monotonic()
        total = None if length is None else self._before + length
        now = self._clock()
        if not self._store.progress(self._job_id, self._owner, now, LEASE, copied=self._before + copied, total=total):
            raise LeaseLost


def _finish(
    job: Job, task: Task, files: list[ResultFile], *, store: Repository, copier: Copier, clock: Clock
) -> Moved | None:
    request = store.request(job.id)
    body = manifest(job, decode(request) if request else {}, task.raw, files, clock())
    key = keys.manifest_key(copier.key_template, job)
    copier.bucket.put(key, body, content_type="application/json", metadata={"reelhook-job": job.id})
    return store.move(job, Event.FILES_PROVEN, clock())


def _failed(job: Job, owner: str, fault: Exception, *, store: Repository, clock: Clock) -> Moved | None:
    attempts = job.archive_attempts + 1
    gone = isinstance(fault, ResourceMissing)
    if attempts <= len(retry.ARCHIVE_AGAIN) and not gone:
        _again(job, owner, str(fault), store=store, clock=clock, counts=True)
        return None
    log.error("archive.given_up", job=job.id, attempts=attempts, reason=str(fault))
    changes = {"archive_attempts": attempts, "error_code": "unprovable", "error_message": str(fault)}
    return store.move(job, Event.TASK_LOST if gone else Event.FILES_UNPROVABLE, clock(), changes=changes)


def _again(job: Job, owner: str, reason: str, *, store: Repository, clock: Clock, counts: bool) -> None:
    log.warning("archive.again", job=job.id, reason=reason)
    attempts = job.archive_attempts + counts
    schedule = retry.ARCHIVE_AGAIN if counts else retry.BUCKET_AGAIN
    due = retry.after(schedule, attempts, clock(), endless=True) or clock()
    store.put_off(job.id, owner, due, archive_attempts=attempts)
