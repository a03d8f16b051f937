"""A circuit breaker for receivers of webhooks: who may be tried now, decided from how the last attempts went.

A receiver that was never tried, or failed last, gets one attempt at a time. One that failed `OPENS_AFTER` times in a
row rests, ever longer, and is then tried with one attempt: so a dead receiver never holds more than one thread.
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
    """How much a receiver is trusted. The higher ones go first when few threads are free."""

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
        """Its standing among receivers."""
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
    """The lowest standing that may have the next thread, when `free` are left `of` so many: half is for the others."""
    if free > of // 2:
        return Standing.FAILING
    return Standing.NEW if free > of // 16 else Standing.PROVEN
