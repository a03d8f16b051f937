"""The outbox: what receivers are to be told, one row for each event and receiver."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, select, update

from worker.store.tables import deliveries


@dataclass(frozen=True)
class Delivery:
    """One event for one receiver. `id` is its `webhook-id`."""

    id: str
    job_id: str
    url: str
    attempts: int


class Outbox:
    """The rows of deliveries, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, delivery_id: str, now: datetime, lease: timedelta) -> Delivery | None:
        """A delivery to be attempted now, by us alone for `lease`; None when it isn't due or has ended."""
        with self._engine.begin() as connection:
            row = connection.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery_id, deliveries.c.state == "pending", deliveries.c.due_at <= now)
                .values(due_at=now + lease, attempts=deliveries.c.attempts + 1)
                .returning(deliveries.c.id, deliveries.c.job_id, deliveries.c.url, deliveries.c.attempts)
            ).one_or_none()
        return Delivery(row.id, row.job_id, row.url, row.attempts) if row else None

    def due(self, now: datetime, limit: int) -> list[str]:
        """Deliveries that are due. They stay due until somebody claims one."""
        query = select(deliveries.c.id).where(deliveries.c.due_at <= now).order_by(deliveries.c.due_at).limit(limit)
        with self._engine.begin() as connection:
            return list(connection.execute(query).scalars())

    def delivered(self, delivery: Delivery, now: datetime, status: int) -> None:
        """The receiver took it."""
        self._set(delivery, state="delivered", due_at=None, delivered_at=now, last_status=status, last_error=None)

    def missed(self, delivery: Delivery, again: datetime | None, *, status: int | None, error: str) -> None:
        """The receiver did not take it; tried again at `again`, given up when that is None."""
        self._set(
            delivery, state="pending" if again else "given_up", due_at=again, last_status=status, last_error=error
        )

    def _set(self, delivery: Delivery, **values: object) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(deliveries).where(deliveries.c.id == delivery.id).values(**values))
