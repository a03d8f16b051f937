"""Find what is due and send it on its way. Ten sweeps at once do no harm: each row is claimed by one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from infra.log import logger
from worker import messages
from worker.ports import Clock, Queue
from worker.store.accounts import Accounts
from worker.store.inbox import Inbox
from worker.store.outbox import Outbox
from worker.store.repository import Repository

log = logger(__name__)

#: How long a claimed row is left alone, unless the work on it says otherwise.
LEASE = timedelta(seconds=20)
_AT_ONCE = 200


def sweep(
    *,
    store: Repository,
    inbox: Inbox,
    outbox: Outbox,
    accounts: Accounts,
    concurrency: Callable[[str], int | None],
    queue: Queue,
    clock: Clock,
) -> None:
    """Send the task of every job and delivery that is due, and of those that wait for slots and may have them now.

    `concurrency`: the slots that are configured for an account.
    """
    now = clock()
    inbox.remind(now)
    accounts.wake_all(now, concurrency)
    due = store.claim_due(now, lease=LEASE, limit=_AT_ONCE)
    waiting = outbox.due(now, _AT_ONCE)
    sent = messages.send(queue, [messages.for_step(one.step, one.job_id) for one in due])
    sent += messages.send(queue, map(messages.for_delivery, waiting))
    if due or waiting:
        log.info("sweep", jobs=len(due), deliveries=len(waiting), sent=sent)
