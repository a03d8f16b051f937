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

#: So long after its callback Kling may say that it has no such task before that is believed.
_MISSING = timedelta(hours=1)
#: So long it is asked while it does not answer: then it has deleted the results.
_SILENT = timedelta(days=retry.DELETED_DAYS)
#: Jobs that one look calls up.
_AT_ONCE = 100


def adopt(job_id: str, *, store: Repository, provider: Provider, queue: Queue, clock: Clock) -> None:
    """Give the task of a job that ended without it a job of its own. Does nothing where no callback tells of one.

    Nor for a job that was set aside: what ended so many processes would end one a minute here. A person may ask for it.
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
    """Have those looked after whose callbacks nobody has looked into so far; once a minute, until Kling answers."""
    strays = store.adoptions.strays(_AT_ONCE)
    messages.send(queue, [messages.for_step(Step.FOLLOW_UP, job_id) for job_id in strays])
