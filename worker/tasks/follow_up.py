"""Ask what is true of a job's task, and move the job there.

A callback only says that it may be worth asking. A create whose outcome is unknown is settled here too: found by our
own id and adopted, or proven absent and sent back, or, when neither can be had, ended as `unknown`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic

from infra.http import HttpError
from infra.log import logger
from worker import messages
from worker.jobs import retry
from worker.jobs.machine import Event, Step
from worker.jobs.model import Job, State
from worker.kling.errors import KlingError, RequestRefused, ResourceMissing
from worker.kling.wire import Task, TaskStatus
from worker.ports import Clock, Queue
from worker.provider import Provider
from worker.store.accounts import Accounts
from worker.store.missing import ABSENT
from worker.store.moves import Also, Lease, Moved
from worker.store.repository import Repository
from worker.tasks.adopt import adopt
from worker.tasks.archive import Fresh
from worker.tasks.begin import Begin
from worker.tasks.book import LEASE
from worker.tasks.submit import asked_to_wait, taken

log = logger(__name__)

#: A follow-up that took longer sends a message for the archive, which wants the whole time of a task to itself.
_QUICK_SECONDS = 2


def follow_up(
    job_id: str,
    *,
    begin: Begin,
    store: Repository,
    accounts: Accounts,
    provider: Provider,
    queue: Queue,
    clock: Clock,
    onward: Callable[[Fresh], None] | None = None,
) -> None:
    """Ask the provider for the task of a job, and move the job to where the answer says.

    For jobs that were, or may have been, submitted, and for jobs that ended without a task of which a callback speaks.
    `onward` archives the job in this process if its task has succeeded; without it a message is sent for that.
    """
    until = monotonic() + _QUICK_SECONDS
    job = begin(job_id, Step.FOLLOW_UP)
    if job is None:
        adopt(job_id, store=store, provider=provider, queue=queue, clock=clock)
        return
    lease, asked = None, clock()
    try:
        task, answer = provider.query(job, asked)
    except (KlingError, HttpError) as fault:
        if _is_missing(job, fault):
            moved = _missing(job, asked, store=store, provider=provider, now=clock())
        else:
            log.warning("follow_up.unanswered", job=job.id, reason=str(fault))
            moved = _unanswered(job, store=store, now=clock(), wait=asked_to_wait(fault))
    else:
        lease = Lease(uuid.uuid4().hex, LEASE) if onward and monotonic() < until else None
        also = Also(answer=answer, found=True, lease=lease)
        moved = _told(job, task, also, store=store, accounts=accounts, provider=provider, now=clock())
    if moved is None:
        return
    log.info("job.moved", job=job.id, state=moved.job.state)
    goes_on = lease is not None and moved.job.state is State.COPYING
    # Others may have its slots before anything else is done with it.
    messages.send(queue, messages.after(job.id, None if goes_on else moved.step, moved.deliveries, moved.woken))
    if onward and lease and goes_on:
        onward(Fresh(moved.job, lease.owner, task))


def _told(
    job: Job, task: Task, also: Also, *, store: Repository, accounts: Accounts, provider: Provider, now: datetime
) -> Moved | None:
    adopted = None
    if job.state is not State.RUNNING:
        adopted = taken(job, task, store=store, accounts=accounts, provider=provider, now=now)
        if adopted is None:
            return None
        log.info("submit.adopted", job=job.id, provider_task=task.task_id)
        job = adopted.job
    match task.status:
        case TaskStatus.SUCCEEDED:
            changes = {"units": task.units, "lookups": 0}
            return store.move(job, Event.TASK_SUCCEEDED, now, changes=changes, note=_when(task), also=also) or adopted
        case TaskStatus.FAILED:
            changes = {
                "units": task.units,
                "error_code": "task_failed",
                "error_message": task.message or "no reason given",
            }
            also = also._replace(lease=None)
            return store.move(job, Event.TASK_FAILED, now, changes=changes, note=_when(task), also=also) or adopted
        case TaskStatus.UNRECOGNISED:
            # It may well mean the end, and the film be there: as good as no answer.
            log.warning("follow_up.unrecognised", job=job.id, word=task.status_word[:80])
            return _unanswered(job, store=store, now=now, lookups=0) or adopted
        case _:
            return _still_running(job, store=store, now=now) or adopted


def _when(task: Task) -> dict[str, str]:
    """When the provider says that it ended, for the timeline: how late its callback was is counted from there."""
    if not task.updated_at_ms:
        return {}
    try:
        return {"ended_at": datetime.fromtimestamp(task.updated_at_ms / 1000, UTC).isoformat()}
    except (ValueError, OverflowError, OSError):  # a number that is no time
        return {}


def _still_running(job: Job, *, store: Repository, now: datetime) -> Moved | None:
    since = job.submitted_at or job.created_at
    if now - since > timedelta(hours=retry.RUNNING_HOURS):
        return _lost(job, "the provider never ended the task", store=store, now=now)
    store.postpone(job, retry.poll_again(since, job.expected_at, now), lookups=0)
    return None


def _is_missing(job: Job, fault: Exception) -> bool:
    """Whether the provider's answer to a look-up means "no such task".

    After a create that was refused, any refusal does: gateways have words of their own for it. In all other cases only
    the provider's definite code counts.
    """
    return isinstance(fault, RequestRefused if _was_refused(job) else ResourceMissing)


def _was_refused(job: Job) -> bool:
    """Whether the provider refused the create, and it only remains to be found out whether as a repetition."""
    return job.state is State.SUBMITTING and job.error_code is not None


def _missing(job: Job, asked: datetime, *, store: Repository, provider: Provider, now: datetime) -> Moved | None:
    """The provider said that it has no such task. `asked`: when we asked; this process may have been held up since."""
    lookups = job.lookups + 1
    if job.state is State.RUNNING:
        if retry.is_lost(lookups, store.missing_since(job, asked), asked):
            return _lost(job, "the provider no longer knows the task", store=store, now=now)
        store.postpone(job, retry.after(retry.LOST_AGAIN, lookups, now, endless=True) or now, lookups=lookups)
        return None
    if job.state is State.SUBMITTING and _is_absent(job, lookups, asked, provider=provider):
        return _absent(job, store=store, now=now)
    store.postpone(job, retry.look_up(lookups, now, provider.absent_after), lookups=lookups)
    return None


def _is_absent(job: Job, lookups: int, asked: datetime, *, provider: Provider) -> bool:
    # `updated_at` of a job that is being submitted is the moment its create could leave.
    return lookups >= retry.ABSENT_LOOKUPS and asked - job.updated_at >= provider.absent_after


def _absent(job: Job, *, store: Repository, now: datetime) -> Moved | None:
    if _was_refused(job):
        return store.move(job, Event.SUBMIT_REFUSED, now)
    before, first = store.absences(job)
    absences = before + 1
    log.warning("submit.absent", job=job.id, submissions=job.submissions, absences=absences)
    if retry.is_never_made(absences, first or now, now):
        message = f"for {retry.RUNNING_HOURS} hours no request made a task: {absences} were sent, and none left a trace"
        changes = {"error_code": "not_made", "error_message": message}
        return store.move(job, Event.SUBMIT_REFUSED, now, changes=changes)
    due = retry.after(retry.ABSENT_AGAIN, absences, now, endless=True) or now
    note = {ABSENT: absences, "reason": "a request to create it was not answered, and made no task"}
    again = {"lookups": 0, "deferrals": job.deferrals + 1}
    moved = store.move(job, Event.SUBMIT_DEFERRED, now, due_at=due, changes=again, note=note)
    return replace(moved, step=None) if moved and due > now else moved


def _unanswered(
    job: Job, *, store: Repository, now: datetime, lookups: int | None = None, wait: float = 0
) -> Moved | None:
    """No usable answer: ask again, ever more rarely, and decide nothing until there is one or the time is up."""
    since = job.updated_at
    if job.state is State.SUBMITTING and now - since > timedelta(hours=retry.RUNNING_HOURS):
        changes = {"error_code": "unsettled", "error_message": "whether the provider made a task could not be settled"}
        return store.move(job, Event.SUBMIT_UNSETTLED, now, changes=changes)
    if job.state is State.RUNNING:
        since = job.submitted_at or job.created_at
        if retry.is_deleted(since, now):
            message = f"nobody could say how the task ended; the provider deletes it after {retry.DELETED_DAYS} days"
            return _lost(job, message, store=store, now=now)
    expected = job.expected_at if job.state is State.RUNNING else None
    again = retry.poll_again(since, expected, now, retry.UNANSWERED_LONGEST)
    again = retry.not_before(again, now, wait)
    store.postpone(job, again, lookups=job.lookups if lookups is None else lookups)
    return None


def _lost(job: Job, message: str, *, store: Repository, now: datetime) -> Moved | None:
    return store.move(job, Event.TASK_LOST, now, changes={"error_code": "task_lost", "error_message": message})
