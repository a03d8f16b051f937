"""Look whether the broker still has what other apps were told through it; what it lost is told again.

Jobs need none of that: they are rows, and a sweep sends what is due. But a task that another app named counts as
delivered once the broker took it, and nobody here would repeat it.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from infra.log import logger
from worker.jobs.brokers import Found, Known, Loss, is_worn, loss
from worker.ports import Clock, MarkedBroker
from worker.store.untaken import Untaken, Watched, known_of

log = logger(__name__)

#: A message that was sent longer ago than this, and is not in its queue, counts as done. Before that, a worker may have
#: taken it and not finished: should worker and broker then fail together, it would be lost.
QUIET = timedelta(minutes=5)
#: What was sent before the look may be written down by a clock that is ahead by so much.
_SKEW = timedelta(seconds=1)


def watch(*, untaken: Untaken, queue: MarkedBroker, clock: Clock) -> None:
    """Look once. Safe in any number of processes at any time: a message that is sent twice has the same id."""
    watched, asked = untaken.watched(), clock()
    seen = queue.look(watched.queues, [one.id for one in watched.known])
    if seen is None:
        return
    missing = frozenset(name for name, count in seen.waiting.items() if count is None)
    found = Found(seen.mark, seen.marked_at, seen.server, seen.evicted, seen.evicts, missing)
    lost = loss(watched.known, found)
    if lost is None:
        for name, waiting in seen.waiting.items():
            untaken.taken(name, waiting or 0, asked, QUIET)
        _whole(watched, found, untaken, queue, clock)
    else:
        _lost(lost, watched, found, untaken, queue, clock)


def _whole(watched: Watched, found: Found, untaken: Untaken, queue: MarkedBroker, clock: Clock) -> None:
    """Nothing was lost: leave a fresh mark in the broker where the old one is due for that."""
    now = clock()
    row = known_of(found.id, watched.known)
    if row is None:
        _mark_anew(found, untaken, queue, clock)
    elif is_worn(row, found, now, watched=bool(watched.queues)):
        made = Known(row.id, now, found.server, found.evicted)
        # The row first: a mark that is older than it says is a loss that was none, at worst.
        if untaken.renew(row, made):
            queue.mark(made.id, made.marked_at, there=True)


def _lost(lost: Loss, watched: Watched, found: Found, untaken: Untaken, queue: MarkedBroker, clock: Clock) -> None:
    """Something was lost: leave a new mark, make the lost messages due again, then write the row of the mark.

    In this order a process that dies in between leaves a mark and a row that don't match, and the next look finds the
    loss again.
    """
    now = clock()
    row = known_of(found.id, watched.known)
    if row and found.marked_at and found.marked_at < row.marked_at:
        row = None  # that mark says nothing any more: should we die here, nobody may take the next one for it
    made = Known(row.id if row else uuid4().hex, now, found.server, found.evicted)
    if not queue.mark(made.id, now, there=found.id is not None):
        return  # it can't be written to, or somebody else has just done this
    again = untaken.again(lost, now + _SKEW, now)
    log.warning("broker.lost", reason=lost.reason, since=lost.since, told_again=again)
    if row:
        untaken.renew(row, made)
    else:
        untaken.mark(made)


def _mark_anew(found: Found, untaken: Untaken, queue: MarkedBroker, clock: Clock) -> None:
    """Leave the first mark in a broker that has none."""
    made = Known(uuid4().hex, clock(), found.server, found.evicted)
    if queue.mark(made.id, made.marked_at, there=False):
        untaken.mark(made)
