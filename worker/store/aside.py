"""What was set aside: messages from other apps that could not become jobs."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import DateTime, Engine, bindparam, insert, select
from sqlalchemy.dialects.postgresql import JSONB

from infra.statement import Statement, of_parts
from worker.store.tables import set_aside
from worker.store.telling import receiver

#: A message is kept up to this length: long enough to see whose it is, whatever media it carries.
_KEPT = 64 * 1024


# A message that comes twice is kept and told once.
_TOLD = Statement(
    of_parts(
        {
            "new": "select 1 where not exists (select 1 from deliveries where id = :id)",
            "kept": "insert into set_aside (task, message, reason, at) select :task, :message, :reason, :at from new",
            "event": """
                insert into events (job_id, sequence, type, at, data) select null, 0, :type, :at, :data from new
                returning id
            """,
            "told": """
                insert into deliveries (id, event_id, url, receiver, state, begun_at, due_at)
                select :id, event.id, :url, :receiver, 'pending', :at, :at from event on conflict (id) do nothing
                returning id
            """,
        },
        "select id from told",
    ).bindparams(bindparam("at", type_=DateTime(timezone=True)), bindparam("data", type_=JSONB))
)
#: Under which the JSON text of an event lies that belongs to no job: it may hold what JSON in a row can't.
BODY = "body"


class Word(NamedTuple):
    """What the asking app is to be told of it."""

    id: str  #: of the delivery; the same for the same message and reason
    url: str
    type: str
    body: str  #: the event, as JSON


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

    def put(self, task: str, message: bytes, reason: str, now: datetime, word: Word | None = None) -> tuple[str, ...]:
        """Keep a message for a person to see, and in one with that what is to be told of it; deliveries that can leave.

        A message that is kept and told of already is neither again.
        """
        storable = reason.replace("\0", "").encode(errors="replace").decode()[:4000]
        values = {"task": task, "message": message[:_KEPT], "reason": storable, "at": now}
        if word is None:
            with self._engine.begin() as connection:
                connection.execute(insert(set_aside).values(**values))
            return ()
        to = {"id": word.id, "url": word.url, "receiver": receiver("message", word.url)}
        with self._engine.connect() as connection, connection.begin() as transaction:
            rows = _TOLD(connection, **values, **to, type=word.type, data={BODY: word.body})
            if not rows:  # another one may have written the same at the same moment: none of this is to stay
                transaction.rollback()
        return tuple(row.id for row in rows)

    def newest(self, limit: int) -> list[SetAside]:
        """The newest ones."""
        columns = (set_aside.c.id, set_aside.c.task, set_aside.c.reason, set_aside.c.at, set_aside.c.message)
        with self._engine.begin() as connection:
            rows = connection.execute(select(*columns).order_by(set_aside.c.id.desc()).limit(limit))
            return [SetAside(*row) for row in rows]
