"""Has the broker lost messages? Decided from a mark that we left in it, and from what it says of itself.

A message for another app (`on_done`) is safe once that app's worker has taken it; until then only the broker has it.
When the broker is wiped the mark is gone, when it restarts from an older snapshot an older mark is back, and when a
replica takes over the server's id has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

#: Clocks of processes that ask the same database differ by less; messages may leave in another order than they are
#: written down.
SKEW = timedelta(seconds=10)
#: How often a mark is renewed at least.
MARK_DAYS = timedelta(days=1)


class Known(NamedTuple):
    """What our row says of a broker."""

    id: str
    marked_at: datetime  #: of the last mark that was, or was about to be, left there
    server: str | None  #: the server's own name for its life since its start; None where it tells nobody
    evicted: int | None  #: so much had it thrown away for want of memory


class Found(NamedTuple):
    """What was found in the broker itself."""

    id: str | None  #: of the mark; None: there is none
    marked_at: datetime | None = None  #: None where marks have no time
    server: str | None = None
    evicted: int | None = None
    evicts: bool = False  #: whether what it throws away may be ours
    missing: frozenset[str] = frozenset()  #: queues that are to be there, and are not


class Loss(NamedTuple):
    """What a broker has lost, or may have."""

    reason: str
    since: datetime | None  #: what it took from then on; None: all that it had
    queues: frozenset[str] | None = None  #: of these; None: of all


def loss(known: Sequence[Known], found: Found) -> Loss | None:
    """What was lost since the last look; None: nothing. `known`: every broker that was ever marked."""
    row = next((one for one in known if one.id == found.id), None)
    if row is None:
        return Loss("the broker has lost what it had", None) if known or found.id else None
    if found.evicts and found.evicted != row.evicted:
        return Loss("the broker threw away what it had no memory for", None)
    marked_at = min(found.marked_at or row.marked_at, row.marked_at)
    if marked_at < row.marked_at:
        return Loss("the broker came back with what it had earlier", marked_at - SKEW)
    if found.server != row.server:
        return Loss("the broker was started anew, or another server took over", marked_at - SKEW)
    return Loss("the broker has lost a queue", None, found.missing) if found.missing else None


def is_worn(row: Known, found: Found, now: datetime, *, watched: bool) -> bool:
    """Whether to renew the mark. `watched`: messages that other apps have not taken yet may be in the broker."""
    return watched or (row.server, row.evicted) != (found.server, found.evicted) or now - row.marked_at > MARK_DAYS
