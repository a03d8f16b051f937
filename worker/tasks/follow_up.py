"""Ask what is true of a job's task, and move the job there.

A callback only says that it may be worth asking. A create whose outcome is unknown is settled here too: found by our
own id and adopted, or proven absent and sent back, or, when neither can be had, ended as `unknown`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from infra.http import HttpError
from infra.log import logger
from worker import messages
from worker.jobs import retry
from worker.jobs.machine import Event, Step
from worker.jobs.model import Job, State
from worker.kling.errors import KlingError, ResourceMissing
from worker.kling.wire import Task, TaskStatus
from worker.ports import Clock, Queue
from worker.provider import Provider, decode
from worker.store.accounts import Accounts
from worker.store.repository import Moved, Repository
from worker.tasks.begin import Begin
from worker.tasks.submit import taken

log = logger(__name__)


def follow_up(
    job_id: str,
    *,
    begin: Begin,
    store: Repository,
    accounts: Accounts,
    provider: Provider,
    queue: Queue,
    clock: Clock,
) -> None:
    """Re-read the task of a job that was, or may have been, submitted. Does nothing for any other."""
    job = begin(job_id, Step.FOLLOW_UP)
    if job is None:
        return
    try:
        task, answer = provider.query(job, clock())
    except ResourceMissing:
        moved = _missing(job, store=store, provider=provider, now=clock())
    except (KlingError, HttpError) as fault:
        log.warning("follow_up.unanswered", job=job.id, reason=str(fault))
        moved = _unanswered(job, store=store, now=clock())
    else:
        moved = _told(job, task, answer, store=store, accounts=accounts, provider=provider, now=clock())
    if moved:
        log.info("job.moved", job=job.id, state=moved.job.state)
        messages.send(queue, messages.after(job.id, moved.step, moved.deliveries, moved.woken))


def _told(
    job: Job, task: Task, answer: bytes, *, store: Repository, accounts: Accounts, provider: Provider, now: datetime
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
            _learn(job, task, store=store, accounts=accounts, provider=provider)
            changes = {"units": task.units, "lookups": 0}
            note = {"found_by": store.found_by(job.id)}
            return store.move(job, Event.TASK_SUCCEEDED, now, answer=answer, changes=changes, note=note) or adopted
        case TaskStatus.FAILED:
            changes = {
                "units": task.units,
                "error_code": "task_failed",
                "error_message": task.message or "no reason given",
            }
            note = {"found_by": store.found_by(job.id)}
            return store.move(job, Event.TASK_FAILED, now, answer=answer, changes=changes, note=note) or adopted
        case _:
            return _still_running(job, store=store, now=now) or adopted


def _learn(job: Job, task: Task, *, store: Repository, accounts: Accounts, provider: Provider) -> None:
    """How long the task took by the provider's own clock is what the next one of its kind is expected to take."""
    request = store.request(job.id)
    if request and task.created_at_ms and task.updated_at_ms and task.updated_at_ms > task.created_at_ms:
        seconds = (task.updated_at_ms - task.created_at_ms) / 1000
        accounts.observe(provider.kind(job, decode(request)), min(seconds, retry.RUNNING_HOURS * 3600))


def _still_running(job: Job, *, store: Repository, now: datetime) -> Moved | None:
    since = job.submitted_at or job.created_at
    if now - since > timedelta(hours=retry.RUNNING_HOURS):
        return _lost(job, "the provider never ended the task", store=store, now=now)
    store.postpone(job, retry.poll_again(since, job.expected_at, now), lookups=0)
    return None


def _missing(job: Job, *, store: Repository, provider: Provider, now: datetime) -> Moved | None:
    """The provider says definitely that it has no such task."""
    lookups = job.lookups + 1
    if job.state is State.RUNNING and lookups >= retry.LOST_LOOKUPS:
        return _lost(job, "the provider no longer knows the task", store=store, now=now)
    if job.state is State.SUBMITTING and _is_absent(job, lookups, provider=provider, now=now):
        return _absent(job, store=store, now=now)
    store.postpone(job, retry.after(retry.LOOK_UP, lookups, now, endless=True) or now, lookups=lookups)
    return None


def _is_absent(job: Job, lookups: int, *, provider: Provider, now: datetime) -> bool:
    # `updated_at` of a job that is being submitted is the moment its create could leave.
    return lookups >= retry.ABSENT_LOOKUPS and now - job.updated_at >= provider.absent_after


def _absent(job: Job, *, store: Repository, now: datetime) -> Moved | None:
    if job.submissions >= retry.SUBMISSIONS:
        message = f"submitted {job.submissions} times, and the provider shows no task; it may have been billed"
        changes = {"error_code": "unsettled", "error_message": message}
        return store.move(job, Event.SUBMIT_UNSETTLED, now, changes=changes)
    log.warning("submit.absent", job=job.id, submissions=job.submissions)
    return store.move(job, Event.SUBMIT_DEFERRED, now, changes={"lookups": 0})


def _unanswered(job: Job, *, store: Repository, now: datetime) -> Moved | None:
    """Nobody could say. Ask again, rarely: the provider will come back, and until then nothing is decided."""
    since = job.updated_at
    if job.state is State.SUBMITTING and now - since > timedelta(hours=retry.RUNNING_HOURS):
        changes = {"error_code": "unsettled", "error_message": "whether the provider made a task could not be settled"}
        return store.move(job, Event.SUBMIT_UNSETTLED, now, changes=changes)
    if job.state is State.RUNNING:
        return _still_running(job, store=store, now=now)
    store.postpone(job, retry.poll_again(since, None, now))
    return None


def _lost(job: Job, message: str, *, store: Repository, now: datetime) -> Moved | None:
    return store.move(job, Event.TASK_LOST, now, changes={"error_code": "task_lost", "error_message": message})
