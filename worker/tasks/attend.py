"""Look for jobs that want a person, and say so once: those that take far too long, whose files can't be had, that wait
for a bucket or a stopped account, or reach nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from infra.log import logger
from worker import messages
from worker.jobs import retry
from worker.ports import Clock, Queue
from worker.store.attention import Attention

log = logger(__name__)

#: A task is late by at least so much before anybody is called.
_GRACE = timedelta(minutes=10)


def attend(*, attention: Attention, queue: Queue, clock: Clock, accounts: Iterable[str]) -> None:
    """Tell of every job that wants a person and was not told of. `accounts`: the names of those that are configured."""
    now = clock()
    found = [(job, "slow", message) for job, message in attention.slow(now, _GRACE)]
    found += [(job, "not_copied", message) for job, message in attention.not_copied(retry.ARCHIVE_ALARM)]
    told_from = now - timedelta(seconds=retry.BUCKET_TOLD)
    found += [(job, "bucket_away", message) for job, message in attention.away(told_from)]
    found += [(job, "account_stopped", message) for job, message in attention.stopped()]
    lost = [one for one in attention.no_account(accounts) if not one.told]
    found += [(one.job_id, "account_missing", f"account {one.account!r} is not in the settings") for one in lost]
    unsubmitted = attention.unsubmitted(retry.DEFERRALS_UNTIL_TOLD, retry.ABSENCES_UNTIL_TOLD)
    found += [(job, "not_submitted", message) for job, message in unsubmitted]
    for job, reason, message in found:
        log.warning("job.attention", job=job, reason=reason, message=message)
        told = attention.attend(job, reason, message, now)
        messages.send(queue, map(messages.for_delivery, told))
