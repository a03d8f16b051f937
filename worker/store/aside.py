"""What was set aside: messages from other apps that could not become jobs."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, insert, select

from worker.store.tables import set_aside

#: A message is kept up to this length: long enough to see whose it is, whatever media it carries.
_KEPT = 64 * 1024


class SetAside(NamedTuple):
    """One of them."""

    id: int
    task: str
    reason: str
    at: datetime
    message: bytes


class Aside:
    """The rows of `set_aside`, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, task: str, message: bytes, reason: str, now: datetime) -> None:
        """Keep a message for a person to see."""
        storable = reason.replace("\0", "").encode(errors="replace").decode()
        with self._engine.begin() as connection:
            connection.execute(
                insert(set_aside).values(task=task, message=message[:_KEPT], reason=storable[:4000], at=now)
            )

    def newest(self, limit: int) -> list[SetAside]:
        """The newest ones."""
        columns = (set_aside.c.id, set_aside.c.task, set_aside.c.reason, set_aside.c.at, set_aside.c.message)
        with self._engine.begin() as connection:
            rows = connection.execute(select(*columns).order_by(set_aside.c.id.desc()).limit(limit))
            return [SetAside(*row) for row in rows]
