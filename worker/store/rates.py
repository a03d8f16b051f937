"""How fast a key may ask, counted in its row: exact over any number of web processes, with or without the broker.

A bucket of a minute's requests that fills evenly (GCRA): `busy_until` is when all that was asked would be worked off.
One statement decides and counts; a refusal writes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, func, select, update

from worker.jobs.access import Caller
from worker.store.tables import api_keys

_WINDOW = timedelta(minutes=1)


@dataclass(frozen=True)
class Spent:
    """What became of one request of a key that has a limit."""

    limit: int  #: requests a minute
    left: int  #: that could be asked at once now
    wait: int  #: seconds, rounded up, until one more may be asked; 0 where one may now
    allowed: bool


class Rates:
    """The limits of API keys, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def spend(self, caller: Caller, now: datetime) -> Spent | None:
        """Count one request of `caller`; None where it may ask as often as it likes."""
        if caller.per_minute is None:
            return None
        each, name = _WINDOW / caller.per_minute, api_keys.c.name == caller.name
        busy = func.greatest(func.coalesce(api_keys.c.busy_until, now), now)
        with self._engine.begin() as connection:
            until = connection.execute(
                update(api_keys)
                .where(name, busy <= now + _WINDOW - each)
                .values(busy_until=busy + each)
                .returning(api_keys.c.busy_until)
            ).scalar_one_or_none()
            allowed = until is not None
            until = until or connection.execute(select(busy).where(name)).scalar_one_or_none() or now
        free = now + _WINDOW - until
        wait = max(0, math.ceil((each - free).total_seconds()))
        return Spent(caller.per_minute, max(0, free // each), wait, allowed)
