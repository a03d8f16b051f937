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

#: So often is it done. It is asked for more often, and whenever a beat starts: one that is restarted each hour, as some
#: platforms do, would never come to ask for it after an hour.
EVERY = timedelta(hours=1)
ASKED_SECONDS = 600
_NAME = "expire"
#: Days before that from which a result that is still not safe is an alarm.
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
    """Remove what belongs to jobs that ended more than `days` ago; hasten and name results at risk. Once in `EVERY`,
    however often it is asked; whether it did all of it now.

    What is not done after `seconds` is left to another task: this one has to end when the platform ends it.
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
    """First of all: nothing that is too slow among what is old may keep this from being said."""
    risky = retention.at_risk(now - timedelta(days=DELETED_DAYS - ALARM_DAYS))
    if risky:
        log.error("retention.at_risk", jobs=[job_id for job_id, _ in risky], oldest=risky[0][1].isoformat())
        retention.hasten([job_id for job_id, _ in risky])
        for job_id, submitted_at in risky:
            message = f"Kling deletes it {DELETED_DAYS} days after {submitted_at.isoformat()}"
            attention.attend(job_id, "result_at_risk", message, now, once=True)
