"""Whether a receiver is spoken to just now: a decision from what became of the last attempts, time passed in.

A receiver that was never heard of, or failed last, gets one attempt at a time. One that failed several times in a row
rests, ever longer, and is then tried with one attempt: no receiver costs more than that while it is dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from worker.jobs.retry import vary

#: So many failures in a row open the circuit.
OPENS_AFTER = 5
#: Seconds that it then rests, doubled with each failure, up to `_LONGEST`.
_REST, _LONGEST = 30, 900
#: Seconds above which an answer, though right, earns no attempts side by side.
SLOW = 3.0


class Standing(IntEnum):
    """Who goes first when there are few hands."""

    FAILING = 0  #: it did not take the last delivery, or was slow
    NEW = 1  #: it was never tried
    PROVEN = 2  #: it took the last delivery, and quickly


@dataclass(frozen=True)
class Circuit:
    """What is known of a receiver."""

    failures: int = 0  #: in a row
    proven: bool | None = None  #: whether it took the last delivery, and quickly; None before the first
    open_until: datetime | None = None

    @property
    def standing(self) -> Standing:
        """Who it goes with."""
        return {None: Standing.NEW, True: Standing.PROVEN, False: Standing.FAILING}[self.proven]

    def side_by_side(self, most: int) -> int:
        """How many attempts it may have at once, of `most`."""
        return most if self.proven else 1

    def rests(self, now: datetime) -> bool:
        """Whether it is left alone."""
        return self.open_until is not None and now < self.open_until

    def taken(self, seconds: float) -> Circuit:
        """It took a delivery, within so many seconds."""
        return Circuit(proven=seconds < SLOW)

    def failed(self, now: datetime, rest: float) -> Circuit:
        """It did not take one. `rest`: seconds that it asked to be left alone for."""
        failures = self.failures + 1
        if failures >= OPENS_AFTER:
            rest = max(rest, vary(min(_REST * 2 ** min(failures - OPENS_AFTER, 10), _LONGEST)))
        until = now + timedelta(seconds=rest) if rest else None
        return Circuit(failures, proven=False, open_until=until)


def least(free: int, of: int) -> Standing:
    """Whom the next hand is for, when `free` are left of so many: failing receivers never have more than half."""
    if free > of // 2:
        return Standing.FAILING
    return Standing.NEW if free > of // 16 else Standing.PROVEN
