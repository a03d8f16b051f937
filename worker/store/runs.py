"""When something was last done that is to be done now and then, however often somebody asks for it."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, or_
from sqlalchemy.dialects.postgresql import insert as upsert

from infra.db import single
from worker.store.tables import runs


class Runs:
    """The rows of runs, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._single = single(engine)

    def begin(self, name: str, now: datetime, every: timedelta) -> bool:
        """Whether it is to be done now: the last time was `every` ago or more. Of several who ask one is told so."""
        with self._single.begin() as connection:
            return begin(connection, name, now, every)

    def again(self, name: str) -> None:
        """It was not done to its end: the next one who asks goes on with it."""
        with self._single.begin() as connection:
            connection.execute(delete(runs).where(runs.c.name == name))


def begin(connection: Connection, name: str, now: datetime, every: timedelta) -> bool:
    """As `Runs.begin`, of what is done in this transaction: where that fails, it was not begun."""
    # A moment that is still to come was written by a clock that went wrong.
    is_due = or_(runs.c.at <= now - every, runs.c.at > now)
    asked = upsert(runs).values(name=name, at=now)
    begun = asked.on_conflict_do_update(index_elements=["name"], set_={"at": now}, where=is_due)
    return connection.execute(begun.returning(runs.c.at)).first() is not None
