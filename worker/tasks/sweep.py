"""Find what is due and send it on its way. Ten sweeps at once do no harm: each row is claimed by one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from infra.log import logger
from worker import messages
from worker.jobs.model import State
from worker.ports import Broker, Clock
from worker.store.accounts import Accounts
from worker.store.inbox import Inbox
from worker.store.outbox import Outbox
from worker.store.repository import Repository

log = logger(__name__)

#: How long a claimed row is left alone, unless the work on it says otherwise: then its message was lost, or waits.
LEASE = timedelta(seconds=20)
#: How many are claimed by one statement.
_AT_ONCE = 200
#: A queue in which so many messages lie gets no more from sweeps. What lies there is still due, so without a bound it
#: would be sent again and again while nobody takes it, until the broker is full; with it a broker that lost everything
#: has it back after a lease, and one that has it all is let be.
LONGEST = 500
#: What lies in which state is sent to which queue. What costs money already comes first.
_LINES: tuple[tuple[str, tuple[State, ...]], ...] = (
    ("archive", (State.COPYING,)),
    ("follow_up", (State.SUBMITTING, State.RUNNING)),
    ("submit", (State.WAITING, State.ACCEPTED)),
)


def sweep(
    *,
    store: Repository,
    inbox: Inbox,
    outbox: Outbox,
    accounts: Accounts,
    concurrency: Callable[[str], int | None],
    queue: Broker,
    clock: Clock,
) -> None:
    """Send the task of every job and delivery that is due, and of those that wait for slots and may have them now.

    `concurrency`: the slots that are configured for an account.
    """
    now = clock()
    inbox.remind(now)
    accounts.wake_all(now, concurrency)
    sent = {name: _send_jobs(name, states, store=store, queue=queue, now=now) for name, states in _LINES}
    waiting = outbox.due(now, min(_AT_ONCE, room)) if (room := _room(queue, "announce")) else []
    sent["announce"] = messages.send(queue, map(messages.for_delivery, waiting))
    if any(sent.values()):
        log.info("sweep", **sent)


def _send_jobs(name: str, states: tuple[State, ...], *, store: Repository, queue: Broker, now: datetime) -> int:
    """Send what is due in these states, as far as the queue has room; how many messages the broker took."""
    room, sent = _room(queue, name), 0
    while room:
        limit = min(room, _AT_ONCE)
        due = store.claim_due(now, lease=LEASE, limit=limit, states=states)
        sent += messages.send(queue, [messages.for_step(one.step, one.job_id) for one in due])
        room = room - limit if len(due) == limit else 0
    return sent


def _room(queue: Broker, name: str) -> int:
    """How many messages a queue may still get; none while the broker does not answer."""
    waiting = queue.waiting(name)
    return max(LONGEST - waiting, 0) if waiting is not None else 0
