"""Ask the provider for a task: at most once, and never blindly again.

The row says that a create may leave before it leaves. What comes back is sorted into three: taken, surely not
created (tried again), and unknown (looked up by `follow_up`, which alone may send it back here).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from infra.http import HttpError, NotSent
from infra.log import logger
from worker import messages
from worker.jobs import retry, slots
from worker.jobs.machine import Event, Step
from worker.jobs.model import Job, State
from worker.kling.errors import ConcurrencyExceeded, KlingError, RequestRefused, ResourceMissing, Retry
from worker.kling.wire import Task
from worker.pipelines import Pipelines
from worker.ports import Clock, Queue
from worker.provider import BadRow, Provider, decode, known
from worker.store.accounts import Accounts
from worker.store.moves import Moved
from worker.store.repository import Repository
from worker.tasks.begin import Begin
from worker.tasks.take_slots import take_slots

log = logger(__name__)

#: How a refusal may say that our id was used before. Kling names no code of its own for that. Source: spec R006.
_REPEATED = re.compile(r"external.?task.?id|unique|duplicat|already|repeat|(?<!not )\bexists\b", re.IGNORECASE)


def submit(
    job_id: str,
    *,
    begin: Begin,
    store: Repository,
    accounts: Accounts,
    provider: Provider,
    pipelines: Pipelines,
    queue: Queue,
    clock: Clock,
) -> None:
    """Submit an accepted job, or one that waits for others no longer. Does nothing for a job in any other state."""
    job = begin(job_id, Step.SUBMIT)
    if job and job.state is State.WAITING:
        job = _settled(job, pipelines=pipelines, queue=queue, now=clock())
    if job is None:
        return
    if (
        job.submissions
        and (found := _look_first(job, store=store, accounts=accounts, provider=provider, clock=clock)) is not None
    ):
        messages.send(queue, _next(found))
        return
    begun = take_slots(job, store=store, accounts=accounts, provider=provider, queue=queue, now=clock())
    if begun is None:
        return
    assert begun.request is not None, "payloads of open jobs do not expire"
    try:
        body = pipelines.bound(begun.job, decode(begun.request))
    except BadRow as fault:
        moved = _unreadable(begun.job, fault, store=store, now=clock())
    else:
        moved = _create(begun.job, body, store=store, accounts=accounts, provider=provider, clock=clock)
    messages.send(queue, _next(moved))


def _unreadable(job: Job, fault: BadRow, *, store: Repository, now: datetime) -> Moved | None:
    """End a job whose stored request can't be read: that does not get better by waiting."""
    log.error("submit.unreadable", job=job.id, reason=str(fault))
    changes = {
        "error_code": "unreadable",
        "error_message": f"{fault}; it was not sent",
        "submissions": job.submissions - 1,
    }
    return store.move(job, Event.SUBMIT_REFUSED, now, changes=changes)


def _settled(job: Job, *, pipelines: Pipelines, queue: Queue, now: datetime) -> Job | None:
    """A job that waited for others, once it may be submitted."""
    settled = pipelines.settle(job, now)
    if settled and settled.step is not Step.SUBMIT:
        messages.send(queue, _next(settled))
    return settled.job if settled and settled.job.state is State.ACCEPTED else None


def _look_first(job: Job, *, store: Repository, accounts: Accounts, provider: Provider, clock: Clock) -> Moved | None:
    """A create of this job left before and was proven absent; look once more before another one leaves.

    None means that it is still absent; otherwise the job was dealt with.
    """
    try:
        task, _ = provider.query(job, clock())
    except ResourceMissing:
        return None
    except (KlingError, HttpError) as fault:
        return _not_told(job, fault, store=store, now=clock())
    return taken(job, task, store=store, accounts=accounts, provider=provider, now=clock()) or Moved(job, None)


def _not_told(job: Job, fault: Exception, *, store: Repository, now: datetime) -> Moved:
    """The look-up before another create had no answer: try later, tell a person in time, and give up in the end.

    Giving up says that nothing was made or paid for: every earlier create of an `accepted` job was proven absent.
    """
    log.warning("submit.unanswered", job=job.id, reason=str(fault))
    wait = asked_to_wait(fault)
    lookups = job.lookups + retry.questions_of(wait)
    if retry.is_silent(lookups, job.updated_at, now):
        words = f"the last request made no task, and for {retry.RUNNING_HOURS} hours nobody answered: {fault}"
        changes = {"error_code": "not_made", "error_message": words}
        return store.move(job, Event.SUBMIT_REFUSED, now, changes=changes) or Moved(job, None)
    again = {"deferrals": job.deferrals + 1, "lookups": lookups}
    due = retry.after(retry.LOOK_FIRST_AGAIN, lookups, now, endless=True) or now
    store.postpone(job, retry.not_before(due, now, wait), **again)
    return Moved(job, None)


def _create(
    job: Job,
    body: dict[str, object],
    *,
    store: Repository,
    accounts: Accounts,
    provider: Provider,
    clock: Clock,
) -> Moved | None:
    try:
        task = provider.create(job, body, clock(), lambda: _is_fresh(job, clock()))
    except NotSent as fault:
        return _deferred(job, str(fault), store=store, now=clock())
    except HttpError as fault:
        log.warning("submit.unknown", job=job.id, reason=str(fault))
        _look_up_later(job, store=store, provider=provider, now=clock())
        return None
    except KlingError as fault:
        return _refused(job, fault, store=store, accounts=accounts, provider=provider, clock=clock)
    log.info("submit.taken", job=job.id, account=job.account, provider_task=task.task_id)
    seconds, stopped = accounts.outlook(provider.kind(job, body))
    for name in accounts.resume(slots.pack(job.account, job.family), clock()) if stopped else ():
        log.warning("account.resumed", account=name)
    return _taken(job, task, body, seconds, store=store, provider=provider, now=clock())


def _is_fresh(job: Job, now: datetime) -> bool:
    """Whether a create may still be sent: not so late that another worker, looking it up, might find it absent first.

    `updated_at` is when the row said that it may be sent.
    """
    return now - job.updated_at < timedelta(seconds=retry.FRESH_SECONDS)


def taken(
    job: Job,
    task: Task,
    *,
    store: Repository,
    accounts: Accounts,
    provider: Provider,
    now: datetime,
) -> Moved | None:
    """A look-up found a task for `job`: running, with the time it is expected to end."""
    body = known(store.request(job.id))
    learned = accounts.expected(provider.kind(job, body))
    return _taken(job, task, body, learned, store=store, provider=provider, now=now)


def _taken(
    job: Job,
    task: Task,
    body: Mapping[str, object],
    learned: float | None,
    *,
    store: Repository,
    provider: Provider,
    now: datetime,
) -> Moved | None:
    expected = now + timedelta(seconds=learned) if learned else provider.expected_at(job, body, now)
    changes = {"provider_task_id": task.task_id, "submitted_at": now, "expected_at": expected, "lookups": 0}
    if job.error_code:  # what was refused was a repetition
        changes |= {"error_code": None, "error_message": None}
    moved = store.move(job, Event.SUBMIT_TAKEN, now, due_at=expected, changes=changes)
    # Its follow-up is a callback or the expected time: nothing to do at once.
    return replace(moved, step=None) if moved else None


def _deferred(job: Job, reason: str, *, store: Repository, now: datetime, seconds: float = 0) -> Moved | None:
    """The provider surely did not create a task: try again later, and don't count this submission."""
    log.warning("submit.deferred", job=job.id, reason=reason)
    due = retry.after(retry.SUBMIT_AGAIN, job.deferrals + 1, now, endless=True) or now
    moved = store.move(
        job,
        Event.SUBMIT_DEFERRED,
        now,
        due_at=retry.not_before(due, now, seconds),
        changes={"deferrals": job.deferrals + 1, "submissions": job.submissions - 1},
        note={"reason": reason.replace("\0", "")},
    )
    return replace(moved, step=None) if moved else None


def asked_to_wait(fault: Exception) -> float:
    """Seconds for which the provider asks not to be asked."""
    return fault.wait if isinstance(fault, KlingError) else 0


def _look_up_later(job: Job, *, store: Repository, provider: Provider, now: datetime, wait: float = 0) -> None:
    store.postpone(job, retry.not_before(retry.look_up(0, now, provider.absent_after), now, wait))


def _refused(
    job: Job, fault: KlingError, *, store: Repository, accounts: Accounts, provider: Provider, clock: Clock
) -> Moved | None:
    now = clock()
    # A page without a word of the provider's may have turned its answer away, not our request.
    match Retry.UNKNOWN_OUTCOME if fault.page else fault.retry:
        case Retry.WAIT | Retry.REAUTHENTICATE:
            if isinstance(fault, ConcurrencyExceeded):
                learned = accounts.learn_limit(job, now)
                log.warning("account.limit_learned", account=job.account, slots=learned)
            return _deferred(job, str(fault), store=store, now=now, seconds=fault.wait)
        case Retry.STOP_ACCOUNT:
            log.error("account.stopped", job=job.id, account=job.account, code=fault.code, reason=str(fault))
            accounts.stop(job, str(fault), now)
            probe = max(slots.PROBE.total_seconds(), fault.wait)
            return _deferred(job, str(fault), store=store, now=now, seconds=probe)
        case Retry.UNKNOWN_OUTCOME | Retry.LATER:
            log.warning("submit.unknown", job=job.id, reason=str(fault))
            _look_up_later(job, store=store, provider=provider, now=now, wait=fault.wait)
            return None
        case Retry.NEVER:
            log.info("submit.refused", job=job.id, code=fault.code, reason=str(fault))
            return _refused_for_good(job, fault, store=store, accounts=accounts, provider=provider, clock=clock)


def _refused_for_good(
    job: Job, fault: KlingError, *, store: Repository, accounts: Accounts, provider: Provider, clock: Clock
) -> Moved | None:
    """Refused: either the request is bad, or it arrived before and its id is taken. Only a look-up tells which.

    Where an earlier create may have arrived, or the refusal speaks of a repetition, one look-up is not enough: the row
    keeps the refusal until `follow_up` has proven, as after a lost answer, that there is no task.
    """
    wait = 0.0
    changes: dict[str, Any] = {"error_code": str(fault.code or fault.http_status), "error_message": fault.message}
    if job.submissions == 1 and not _REPEATED.search(fault.message):
        try:
            task, _ = provider.query(job, clock())
        except RequestRefused:
            return store.move(job, Event.SUBMIT_REFUSED, clock(), changes=changes)
        except (KlingError, HttpError) as unanswered:
            log.warning("submit.refusal_unproven", job=job.id, reason=str(unanswered))
            wait = asked_to_wait(unanswered)
        else:
            return taken(job, task, store=store, accounts=accounts, provider=provider, now=clock())
    now = clock()
    store.postpone(job, retry.not_before(retry.look_up(0, now, provider.absent_after), now, wait), **changes)
    return None


def _next(moved: Moved | None) -> list[messages.Message | None]:
    return messages.after(moved.job.id, moved.step, moved.deliveries, moved.woken) if moved else []
