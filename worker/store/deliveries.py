"""Deliveries as they are looked at, and sent again: one, those of a job, or those of a time.

What is sent again keeps its `webhook-id`: a receiver that has it already can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, and_, or_, select, update

from worker.jobs import events as vocabulary
from worker.store.tables import attempts, deliveries, events, jobs, subscriptions
from worker.store.telling import SUBSCRIPTION

#: States in which a delivery may be begun anew. One that waits for its time is due at once then.
_REPLAYED = ("delivered", "given_up", "pending")


@dataclass(frozen=True)
class Which:
    """Which deliveries of a caller; None means any."""

    caller: str
    id: str | None = None
    job: str | None = None
    subscription: str | None = None
    state: str | None = None
    since: datetime | None = None  #: by the time of the event
    until: datetime | None = None


class Deliveries:
    """The rows of deliveries as people see them, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(self, which: Which, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Mapping[str, Any]]:
        """The newest first; `before`: the time and id of the last one of the page before."""
        query = _shown(which).order_by(events.c.at.desc(), deliveries.c.id.desc()).limit(limit)
        if before:
            moment, last = before
            query = query.where(or_(events.c.at < moment, and_(events.c.at == moment, deliveries.c.id < last)))
        with self._engine.begin() as connection:
            return [_words(dict(row)) for row in connection.execute(query).mappings()]

    def get(self, caller: str, delivery_id: str) -> Mapping[str, Any] | None:
        """One delivery, and every attempt at it under `attempts`."""
        query = select(attempts).where(attempts.c.delivery_id == delivery_id).order_by(attempts.c.number)
        with self._engine.begin() as connection:
            row = connection.execute(_shown(Which(caller, id=delivery_id))).mappings().one_or_none()
            if row is None:
                return None
            tried = [dict(one) for one in connection.execute(query).mappings()]
        return {**_words(dict(row)), "tried": [{k: v for k, v in one.items() if k != "delivery_id"} for one in tried]}

    def replay(self, which: Which, now: datetime) -> Sequence[str]:
        """Begin deliveries anew, with a fresh schedule; their ids. What is kept for a disabled one stays kept."""
        wanted = _shown(which, deliveries.c.id).where(deliveries.c.state.in_(_REPLAYED))
        with self._engine.begin() as connection:
            done = connection.execute(
                update(deliveries)
                .where(deliveries.c.id.in_(wanted), _free(now))
                .values(state="pending", due_at=now, begun_at=now, tries=0, begun=0, delivered_at=None)
                .returning(deliveries.c.id)
            )
            return list(done.scalars())


def _free(now: datetime) -> ColumnElement[bool]:
    """What is being attempted just now is not begun anew."""
    return or_(deliveries.c.claimed_until.is_(None), deliveries.c.claimed_until <= now)


def _shown(which: Which, *columns: ColumnElement[Any]) -> Select[Any]:
    """The deliveries of a caller: of its jobs, or to its subscriptions."""
    wanted = columns or (
        deliveries.c.id,
        events.c.type,
        events.c.sequence,
        events.c.at,
        deliveries.c.job_id,
        deliveries.c.url,
        deliveries.c.state,
        deliveries.c.attempts,
        deliveries.c.due_at,
        deliveries.c.delivered_at,
        deliveries.c.last_status,
        deliveries.c.last_error,
    )
    own = select(SUBSCRIPTION + subscriptions.c.id).where(subscriptions.c.caller == which.caller)
    query = (
        select(*wanted)
        .join(events, events.c.id == deliveries.c.event_id)
        .outerjoin(jobs, jobs.c.id == deliveries.c.job_id)
        .where(or_(jobs.c.caller == which.caller, and_(deliveries.c.job_id.is_(None), deliveries.c.url.in_(own))))
    )
    for column, value in (
        (deliveries.c.id, which.id),
        (deliveries.c.job_id, which.job),
        (deliveries.c.url, which.subscription and SUBSCRIPTION + which.subscription),
        (deliveries.c.state, which.state),
    ):
        if value is not None:
            query = query.where(column == value)
    if which.since is not None:
        query = query.where(events.c.at >= which.since)
    if which.until is not None:
        query = query.where(events.c.at < which.until)
    return query


def _words(shown: dict[str, Any]) -> dict[str, Any]:
    """Outer names; a subscription instead of its inner address."""
    shown["type"] = vocabulary.told_as(shown["type"])
    url = shown.pop("url")
    to = {"subscription": url.removeprefix(SUBSCRIPTION)} if url.startswith(SUBSCRIPTION) else {"url": url}
    return {**shown, **to}
