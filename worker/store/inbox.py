"""The inbox: callbacks as they came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Any

from sqlalchemy import Engine, select, text

from infra.statement import Statement
from worker.store.tables import callbacks

#: One row each, all in one statement and one commit. Rows are locked in the order of their ids: of two writes about
#: the same jobs one waits for the other, and never both.
_PUT = Statement(
    text("""
with given as (
    select * from unnest(
        cast(:jobs as text[]), cast(:digests as bytea[]), cast(:bodies as bytea[]), cast(:verdicts as text[]),
        cast(:words as text[]), cast(:times as timestamptz[]), cast(:counts as integer[])
    ) as given (job_id, sha256, body, verdict, status, received_at, count)
), stored as (
    insert into callbacks (job_id, sha256, body, verdict, status, received_at, repeats)
    select job_id, sha256, body, verdict, given.status, received_at, count - 1
    from given join jobs on jobs.id = given.job_id
    order by job_id, sha256
    on conflict (job_id, sha256) do update set repeats = callbacks.repeats + excluded.repeats + 1
    returning job_id, sha256, repeats
), due as (
    select id from jobs
    where id = any(cast(:jobs as text[])) and due_at > :now and lease_owner is null
        and (state <> 'running' or id = any(cast(:ending as text[])))
    order by id for no key update
), nudged as (
    update jobs set due_at = :now from due where jobs.id = due.id
)
select job_id, sha256, repeats from stored
""")
)


@dataclass(frozen=True)
class Arrival:
    """A callback that came for a job, and what we made of it."""

    job_id: str
    body: bytes
    verdict: str
    status: str | None
    at: datetime
    ends: bool = True  #: whether it says that the task ended, or says nothing that is known

    @cached_property
    def key(self) -> tuple[str, bytes]:
        """What makes it the same callback as another."""
        return self.job_id, sha256(self.body).digest()


class Inbox:
    """The rows of callbacks, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, arrivals: Sequence[Arrival]) -> list[bool | None]:
        """Store each once, and make their jobs due in the same statement. A repetition is only counted.

        That a running task goes on running is no reason to ask for it: its job stays due when it was.
        For each: True when it is new, False when it is known, None when there is no such job.
        """
        counts = Counter(one.key for one in arrivals)
        single = list({one.key: one for one in reversed(arrivals)}.values())
        values = {
            "jobs": [one.job_id for one in single],
            "digests": [one.key[1] for one in single],
            "bodies": [one.body for one in single],
            "verdicts": [one.verdict for one in single],
            "words": [one.status for one in single],
            "times": [one.at for one in single],
            "counts": [counts[one.key] for one in single],
            "ending": [one.job_id for one in single if one.ends],
            "now": max(one.at for one in single),
        }
        rows = _PUT.alone(self._engine, **values).fetchall()
        return _told(arrivals, counts, {(row.job_id, bytes(row.sha256)): row.repeats for row in rows})

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """The callbacks of a job in the order they came, without their bodies."""
        query = select(
            callbacks.c.id, callbacks.c.verdict, callbacks.c.status, callbacks.c.received_at, callbacks.c.repeats
        ).where(callbacks.c.job_id == job_id)
        with self._engine.begin() as connection:
            return [dict(row) for row in connection.execute(query.order_by(callbacks.c.id)).mappings()]


def _told(
    arrivals: Sequence[Arrival], counts: Mapping[tuple[str, bytes], int], repeats: Mapping[tuple[str, bytes], int]
) -> list[bool | None]:
    """What each is, of which the first of several equal ones may be new."""
    seen: set[tuple[str, bytes]] = set()
    told: list[bool | None] = []
    for one in arrivals:
        stored = repeats.get(one.key)
        told.append(None if stored is None else stored == counts[one.key] - 1 and one.key not in seen)
        seen.add(one.key)
    return told
