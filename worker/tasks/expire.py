"""Let old payloads go, and call out for results that the provider will soon delete."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import inf
from time import monotonic

from infra.log import logger
from worker import messages
from worker.jobs.retry import DELETED_DAYS
from worker.ports import Clock, Queue
from worker.store.attention import Attention
from worker.store.retention import Retention
from worker.store.runs import Runs

log = logger(__name__)

#: How often it is done. Beat asks for it more often than that, and whenever it starts: a beat that its platform
#: restarts each hour would otherwise never get to ask.
EVERY = timedelta(hours=1)
ASKED_SECONDS = 600
_NAME = "expire"
#: A result that is not safe so many days before the provider deletes it is an alarm.
ALARM_DAYS = 3


def expire(
    *,
    runs: Runs,
    retention: Retention,
    attention: Attention,
    queue: Queue,
    days: int,
    clock: Clock,
    seconds: float = inf,
) -> bool:
    """Remove what belongs to jobs that ended more than `days` ago, and raise the alarm for results at risk.

    Done once in `EVERY`, however often it is called. After `seconds` the rest is left to another task, as this one must
    end within the platform's grace period. Returns whether all of it was done now.
    """
    now = clock()
    if not runs.begin(_NAME, now, EVERY):
        return False
    _call_out(retention, attention, now)
    gone, all_of_it = retention.expire(now - timedelta(days=days), until=monotonic() + seconds)
    if gone:
        log.info("retention.expired", rows=gone, all=all_of_it)
    if not all_of_it:
        runs.again(_NAME)
        messages.send(queue, [messages.Message(messages.EXPIRE, "sweep")])
    return all_of_it


def _call_out(retention: Retention, attention: Attention, now: datetime) -> None:
    """Raise the alarm for results at risk. It goes first, so that a slow removal of old rows can't hold it up."""
    risky = retention.at_risk(now - timedelta(days=DELETED_DAYS - ALARM_DAYS))
    if risky:
        log.error("retention.at_risk", jobs=[job_id for job_id, _ in risky], oldest=risky[0][1].isoformat())
        retention.hasten([job_id for job_id, _ in risky])
        for job_id, submitted_at in risky:
            message = f"Kling deletes it {DELETED_DAYS} days after {submitted_at.isoformat()}"
            attention.attend(job_id, "result_at_risk", message, now, once=True)
