"""The inbox: callbacks as they came."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import DateTime, Engine, LargeBinary, Text, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from worker.store.tables import callbacks, jobs


class Inbox:
    """The rows of callbacks, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, job_id: str, body: bytes, *, verdict: str, status: str | None, now: datetime) -> bool | None:
        """Store a callback once, and make its job due in the same statement. A repetition is only counted.

        True when it is new, False when it is known, None when there is no such job.
        """
        stored = (
            upsert(callbacks)
            .from_select(
                ["job_id", "sha256", "body", "verdict", "status", "received_at"],
                select(
                    jobs.c.id,
                    literal(sha256(body).digest(), LargeBinary),
                    literal(body, LargeBinary),
                    literal(verdict, Text),
                    literal(status, Text),
                    literal(now, DateTime(timezone=True)),
                ).where(jobs.c.id == job_id),
            )
            .on_conflict_do_update(index_elements=["job_id", "sha256"], set_={"repeats": callbacks.c.repeats + 1})
            .returning(callbacks.c.repeats)
            .cte("stored")
        )
        nudge = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.due_at > now, jobs.c.lease_owner.is_(None))
            .values(due_at=now)
            .returning(jobs.c.id)
            .cte("nudged")
        )
        with self._engine.begin() as connection:
            repeats = connection.execute(select(stored.c.repeats).add_cte(nudge)).scalar_one_or_none()
        return None if repeats is None else repeats == 0

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """The callbacks of a job in the order they came, without their bodies."""
        query = select(
            callbacks.c.id, callbacks.c.verdict, callbacks.c.status, callbacks.c.received_at, callbacks.c.repeats
        ).where(callbacks.c.job_id == job_id)
        with self._engine.begin() as connection:
            return [dict(row) for row in connection.execute(query.order_by(callbacks.c.id)).mappings()]
