"""Look into callbacks that come for a job after it has ended without its task: a hint, and Kling's answer the truth."""

from __future__ import annotations

from datetime import timedelta

from infra.http import HttpError
from infra.log import logger
from worker import messages
from worker.adoption import Adoption, NotAdopted
from worker.jobs import retry
from worker.jobs.machine import Step
from worker.kling.errors import KlingError, ResourceMissing
from worker.ports import Clock, Queue
from worker.provider import Provider
from worker.store.repository import Repository
from worker.tasks.begin import SET_ASIDE

log = logger(__name__)

#: For so long after the callback Kling's answer "no such task" is not believed.
_MISSING = timedelta(hours=1)
#: For so long Kling is asked while it does not answer; after that it has deleted the results.
_SILENT = timedelta(days=retry.DELETED_DAYS)
#: Jobs that one look calls up.
_AT_ONCE = 100


def adopt(job_id: str, *, store: Repository, provider: Provider, queue: Queue, clock: Clock) -> None:
    """Look for the task of a job that ended without it, if a callback speaks of one; where it is there, adopt it.

    Not for a job that was set aside: what killed so many processes would kill one a minute here. `reelhook adopt` does
    it when a person asks.
    """
    calls = store.adoptions.calls(job_id)
    job = store.get(job_id) if calls else None
    if job is None:
        return
    if job.error_code == SET_ASIDE:
        log.warning("adopt.set_aside", job=job.id)
        store.adoptions.settle(calls)
        return
    try:
        adopted = Adoption(store, provider, clock).adopt(job)
    except NotAdopted as reason:
        log.info("adopt.nothing", job=job.id, reason=str(reason))
    except (KlingError, HttpError) as fault:
        log.warning("adopt.unanswered", job=job.id, reason=str(fault))
        patience = _MISSING if isinstance(fault, ResourceMissing) else _SILENT
        calls = [call for call in calls if clock() - call.received_at > patience]
    else:
        log.warning("job.adopted", job=job.id, by=adopted.job.id, new=adopted.is_new)
        again = messages.for_step(Step.FOLLOW_UP, adopted.job.id)
        messages.send(queue, [again, *map(messages.for_delivery, adopted.deliveries)])
    store.adoptions.settle(calls)


def call_up(*, store: Repository, queue: Queue) -> None:
    """Send a message for each ended job with callbacks that nobody has looked into; called once a minute."""
    strays = store.adoptions.strays(_AT_ONCE)
    messages.send(queue, [messages.for_step(Step.FOLLOW_UP, job_id) for job_id in strays])
