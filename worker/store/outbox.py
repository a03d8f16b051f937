"""The outbox: what receivers are to be told, one row for each event and receiver.

Claims go receiver by receiver, with its row locked, so the bounds hold however many processes claim at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, DateTime, Engine, Row, bindparam, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from infra.db import single
from worker.jobs import retry
from worker.jobs.circuit import Circuit, Standing
from worker.jobs.outbound import Occurred
from worker.store.tables import attempts, deliveries, events, receivers
from worker.store.telling import SUBSCRIPTION

_MOMENT = DateTime(timezone=True)

# Hops from receiver to receiver through the index, so that a heap of rows for a dead one is never read.
_DUE = text(
    """
    with recursive name as (
        (select receiver from deliveries where due_at is not null order by receiver limit 1)
        union all
        select (
            select d.receiver from deliveries d
            where d.due_at is not null and d.receiver > name.receiver order by d.receiver limit 1
        )
        from name where name.receiver is not null
    )
    select due.id
    from name left join receivers r on r.name = name.receiver
    cross join lateral (
        select d.id, d.due_at, row_number() over (order by d.due_at) as place
        from deliveries d where d.receiver = name.receiver and d.due_at <= :now order by d.due_at limit :most
    ) due
    where name.receiver is not null and (r.open_until is null or r.open_until <= :now)
        and due.place <= case when r.proven then :most else 1 end
    order by coalesce(r.failures, 0), due.due_at limit :limit
    """
).bindparams(bindparam("now", type_=_MOMENT))

# Of one job a later event waits until the earlier one is through or given up.
_CLAIM = text(
    """
    update deliveries set due_at = :until, claimed_until = :until, attempts = attempts + 1, tries = tries + 1
    where id = (
        select d.id from deliveries d
        where d.receiver = :receiver and d.due_at <= :now and d.state = 'pending' and not exists (
            select 1 from deliveries e
            where e.job_id = d.job_id and e.url = d.url and e.state = 'pending' and e.sequence < d.sequence
        )
        order by d.due_at, d.sequence limit 1
    ) and :most > (select count(*) from deliveries c where c.receiver = :receiver and c.claimed_until > :now)
    returning id, event_id, job_id, url, receiver, attempts, tries, begun_at
    """
).bindparams(bindparam("now", type_=_MOMENT), bindparam("until", type_=_MOMENT))


@dataclass(frozen=True)
class Delivery:
    """One event for one receiver, claimed. `id` is its `webhook-id`."""

    id: str
    job_id: str | None
    url: str
    receiver: str
    attempts: int  #: in all, with this one
    tries: int  #: since it was last begun anew
    begun_at: datetime
    occurred: Occurred


@dataclass(frozen=True)
class Attempt:
    """What became of one attempt."""

    at: datetime
    seconds: float
    status: int | None = None
    answer: str = ""  #: the first kB of what the receiver said
    error: str | None = None  #: None when it was taken


class Outbox:
    """The rows of deliveries, through one engine. `most`: attempts that a proven receiver may have side by side."""

    def __init__(self, engine: Engine, most: int = 4) -> None:
        self._engine = engine
        self._single = single(engine)
        self._most = most

    def due(self, now: datetime, limit: int) -> list[str]:
        """Deliveries that are due, healthy receivers' first, no more of each than may be attempted at once."""
        with self._single.begin() as connection:
            rows = connection.execute(_DUE, {"now": now, "most": self._most, "limit": limit})
            return list(rows.scalars())

    def claim(
        self, delivery_id: str, now: datetime, lease: timedelta, least: Standing = Standing.FAILING
    ) -> Delivery | None:
        """What is to be attempted next at the receiver of a delivery, by us alone for `lease`.

        None when nothing is due there, it rests, has as many attempts as it may, or stands below `least`.
        """
        query = select(deliveries.c.receiver).where(deliveries.c.id == delivery_id)
        with self._engine.begin() as connection:
            name = connection.execute(query).scalar_one_or_none()
            return None if name is None else _claim(connection, name, now, lease, self._most, least)

    def next(self, delivery: Delivery, now: datetime, lease: timedelta) -> Delivery | None:
        """The next one at the same receiver, as `claim` has it."""
        with self._engine.begin() as connection:
            return _claim(connection, delivery.receiver, now, lease, self._most, Standing.FAILING)

    def delivered(self, delivery: Delivery, attempt: Attempt) -> None:
        """The receiver took it."""
        with self._engine.begin() as connection:
            before = _circuit(connection, delivery.receiver)
            _learn(connection, delivery.receiver, before, before.taken(attempt.seconds))
            _log(connection, delivery, attempt)
            _set(connection, delivery, state="delivered", due_at=None, delivered_at=attempt.at, last_error=None,
                 last_status=attempt.status)  # fmt: skip

    def missed(
        self, delivery: Delivery, attempt: Attempt, again: datetime | None, *, counts: bool = True, rest: float = 0
    ) -> Circuit:
        """The receiver did not take it; tried again at `again`, given up when that is None.

        `counts`: whether it says something of the receiver, not only of this delivery. `rest`: seconds for which it
        asked to be left alone.
        """
        with self._engine.begin() as connection:
            before = after = _circuit(connection, delivery.receiver)
            if counts:
                after = before.failed(attempt.at, rest)
                _learn(connection, delivery.receiver, before, after)
            if after.rests(attempt.at):
                _too_old(connection, delivery.receiver, attempt.at)
            _log(connection, delivery, attempt)
            _set(connection, delivery, state="pending" if again else "given_up", due_at=again,
                 last_status=attempt.status, last_error=attempt.error)  # fmt: skip
        return after

    def drop(self, delivery: Delivery, reason: str) -> None:
        """There is nobody to tell any more."""
        with self._engine.begin() as connection:
            _set(connection, delivery, state="given_up", due_at=None, last_error=reason)


def _claim(
    connection: Connection, name: str, now: datetime, lease: timedelta, most: int, least: Standing
) -> Delivery | None:
    circuit = _circuit(connection, name)
    if circuit.rests(now) or circuit.standing < least:
        return None
    values = {"receiver": name, "now": now, "until": now + lease, "most": circuit.side_by_side(most)}
    row = connection.execute(_CLAIM, values).one_or_none()
    return None if row is None else Delivery(**_facts(row), occurred=_occurred(connection, row.event_id))


def _facts(row: Row[*tuple[Any, ...]]) -> dict[str, Any]:
    facts = row._mapping  # noqa: SLF001 - public in SQLAlchemy, but for its name
    return {str(name): value for name, value in facts.items() if name != "event_id"}


def _occurred(connection: Connection, event_id: int) -> Occurred:
    query = select(events.c.type, events.c.sequence, events.c.at, events.c.data).where(events.c.id == event_id)
    return Occurred(*connection.execute(query).one())


def _circuit(connection: Connection, name: str) -> Circuit:
    """What is known of a receiver. Its row is locked until the transaction ends."""
    query = (
        select(receivers.c.failures, receivers.c.proven, receivers.c.open_until)
        .where(receivers.c.name == name)
        .with_for_update(key_share=True)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        connection.execute(upsert(receivers).values(name=name).on_conflict_do_nothing())
        row = connection.execute(query).one()
    return Circuit(*row)


def _learn(connection: Connection, name: str, before: Circuit, after: Circuit) -> None:
    """Write down what changed; for a receiver that goes on taking everything, nothing."""
    if after != before:
        values = {"failures": after.failures, "proven": after.proven, "open_until": after.open_until}
        connection.execute(update(receivers).where(receivers.c.name == name).values(**values))


def _too_old(connection: Connection, name: str, now: datetime) -> None:
    """A receiver that rests is tried so rarely that what waits for it would outlive every schedule."""
    oldest = now - timedelta(hours=retry.DELIVER_HOURS)
    connection.execute(
        update(deliveries)
        .where(deliveries.c.receiver == name, deliveries.c.state == "pending", deliveries.c.begun_at < oldest,
               deliveries.c.due_at <= now, ~deliveries.c.url.startswith(SUBSCRIPTION))
        .values(state="given_up", due_at=None, last_error="the receiver could not be reached for days")
    )  # fmt: skip


def _log(connection: Connection, delivery: Delivery, attempt: Attempt) -> None:
    connection.execute(
        insert(attempts).values(
            delivery_id=delivery.id,
            number=delivery.attempts,
            at=attempt.at,
            seconds=attempt.seconds,
            status=attempt.status,
            answer=attempt.answer,
            error=attempt.error,
        )
    )


def _set(connection: Connection, delivery: Delivery, **values: object) -> None:
    # A lease that ran out may have given the delivery to another, which has the last word then.
    still_ours = deliveries.c.attempts == delivery.attempts
    connection.execute(
        update(deliveries).where(deliveries.c.id == delivery.id, still_ours).values(claimed_until=None, **values)
    )
