"""Look for jobs that want a person, and say so once: those that take far too long, whose files can't be had, that wait
for a bucket or a stopped account, or reach nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from infra.log import logger
from worker import messages
from worker.jobs import retry
from worker.ports import Clock, Queue
from worker.store.attention import Attention

log = logger(__name__)

#: A task is late by at least so much before anybody is called.
_GRACE = timedelta(minutes=10)


def attend(*, attention: Attention, queue: Queue, clock: Clock, accounts: Iterable[str]) -> None:
    """Tell of every job that wants a person and was not told of. `accounts`: the names of those that are configured.

    A failing query, or a message that can't be sent, does not keep the other reasons from being told.
    """
    now = clock()
    for reason, find in _looks(attention, now, accounts).items():
        try:
            for job, message in find():
                log.warning("job.attention", job=job, reason=reason, message=message)
                told = attention.attend(job, reason, message, now)
                messages.send(queue, map(messages.for_delivery, told))
        except SQLAlchemyError:
            log.exception("attention.not_looked", reason=reason)


def _looks(
    attention: Attention, now: datetime, accounts: Iterable[str]
) -> dict[str, Callable[[], Iterable[tuple[str, str]]]]:
    """By reason: the query that finds such jobs, each with a sentence for the person."""
    told_from = now - timedelta(seconds=retry.BUCKET_TOLD)
    return {
        "slow": partial(attention.slow, now, _GRACE),
        "not_copied": partial(
            attention.not_copied, now + timedelta(seconds=retry.ARCHIVE_PUT_OFF_TOLD), retry.ARCHIVE_ALARM
        ),
        "bucket_away": partial(attention.away, told_from),
        "account_stopped": attention.stopped,
        "account_missing": partial(_missing, attention, accounts),
        "not_submitted": partial(
            attention.unsubmitted,
            now + timedelta(seconds=retry.PUT_OFF_TOLD),
            retry.DEFERRALS_UNTIL_TOLD,
            retry.ABSENCES_UNTIL_TOLD,
        ),
    }


def _missing(attention: Attention, accounts: Iterable[str]) -> list[tuple[str, str]]:
    lost = [one for one in attention.no_account(accounts) if not one.told]
    return [(one.job_id, f"account {one.account!r} is not in the settings") for one in lost]
