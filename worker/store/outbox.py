"""The outbox: what receivers are to be told, one row for each event and receiver.

Claims go receiver by receiver, with its row locked, so the bounds hold however many processes claim at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, DateTime, Engine, Integer, Text, bindparam, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from infra.statement import Rows, Statement
from worker.jobs import retry
from worker.jobs.circuit import SLOW, Circuit, Standing
from worker.jobs.model import Job
from worker.jobs.outbound import Occurred
from worker.store.rows import JOB_COLUMNS, job_of
from worker.store.tables import attempts, deliveries, receivers
from worker.store.telling import SUBSCRIPTION

_MOMENT = DateTime(timezone=True)

# Hops from receiver to receiver through the index, so that a heap of rows for a dead one is never read.
_DUE = Statement(
    text(
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
)

# Of one job a later event waits until the earlier one is through or given up.
_CLAIM = Statement(
    text(
        """
    update deliveries set claimed_until = :until, attempts = deliveries.attempts + 1,
        begun = deliveries.begun + 1, due_at = greatest(cast(:until as timestamptz), :now + interval '1 second' * case
            when deliveries.begun > 0 then least(:pause * power(2, deliveries.begun), :longest) else 0 end)
    from events left join jobs on jobs.id = events.job_id
    where events.id = deliveries.event_id and deliveries.id = (
        select d.id from deliveries d
        where d.receiver = :receiver and d.due_at <= :now and d.state = 'pending' and not exists (
            select 1 from deliveries e
            where e.job_id = d.job_id and e.url = d.url and e.state = 'pending' and e.sequence < d.sequence
        )
        order by d.due_at, d.sequence limit 1
    ) and :most > (select count(*) from deliveries c where c.receiver = :receiver and c.claimed_until > :now)
    returning {job}, deliveries.id as delivery, deliveries.url, deliveries.receiver, deliveries.attempts,
        deliveries.tries + 1 as tries, deliveries.begun as times, deliveries.begun_at, events.type, events.sequence,
        events.at, events.data
    """.format(job=", ".join(f"jobs.{column.name}" for column in JOB_COLUMNS))  # noqa: S608 - names of columns
    ).bindparams(bindparam("now", type_=_MOMENT), bindparam("until", type_=_MOMENT))
)

# What is said of a receiver that was proven and still is: nothing but this, and whether more is due there.
_TAKEN = Statement(
    text(
        """
    with logged as (
        insert into attempts (delivery_id, number, at, seconds, status, answer)
        values (:id, :number, :at, :seconds, :status, :answer)
    ), taken as (
        update deliveries set state = 'delivered', due_at = null, claimed_until = null, begun = 0,
            delivered_at = :now, taken_at = null, last_status = :status, last_error = null
        where id = :id and attempts = :number
    )
    select exists (select 1 from deliveries where receiver = :receiver and due_at <= :now and id <> :id)
    """
    ).bindparams(bindparam("at", type_=_MOMENT), bindparam("now", type_=_MOMENT), bindparam("status", type_=Integer))
)


_LOCKED = select(receivers.c.name, receivers.c.failures, receivers.c.proven, receivers.c.open_until).with_for_update(
    key_share=True
)
_RECEIVER = Statement(_LOCKED.where(receivers.c.name == bindparam("name", type_=Text)))
_OF_DELIVERY = select(deliveries.c.receiver).where(deliveries.c.id == bindparam("delivery", type_=Text))
_RECEIVER_OF = Statement(_LOCKED.where(receivers.c.name == _OF_DELIVERY.scalar_subquery()))


@dataclass(frozen=True)
class Delivery:
    """One event for one receiver, claimed. `id` is its `webhook-id`."""

    id: str
    job: Job | None  #: as it is now; None for a test
    url: str
    receiver: str
    attempts: int  #: in all, with this one
    tries: int  #: since it was last begun anew of which something was heard, with this one
    begun: int  #: with this one, of which nothing was heard yet
    begun_at: datetime
    proven: bool  #: whether its receiver was, when it was claimed
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
        self._most = most

    def due(self, now: datetime, limit: int) -> list[str]:
        """Deliveries that are due, healthy receivers' first, no more of each than may be attempted at once."""
        return [row.id for row in _DUE.alone(self._engine, now=now, most=self._most, limit=limit)]

    def claim(
        self, delivery_id: str, now: datetime, lease: timedelta, least: Standing = Standing.FAILING
    ) -> Delivery | None:
        """What is to be attempted next at the receiver of a delivery, by us alone for `lease`.

        None when nothing is due there, it rests, has as many attempts as it may, or stands below `least`.
        """
        with self._engine.begin() as connection:
            known = _known(_RECEIVER_OF(connection, delivery=delivery_id))
            if known is None:
                name = select(deliveries.c.receiver).where(deliveries.c.id == delivery_id)
                met = connection.execute(name).scalar_one_or_none()
                if met is None:
                    return None
                known = _met(connection, met)
            return _claim(connection, *known, now, lease, self._most, least)

    def next(self, delivery: Delivery, now: datetime, lease: timedelta) -> Delivery | None:
        """The next one at the same receiver, as `claim` has it."""
        with self._engine.begin() as connection:
            known = _met(connection, delivery.receiver)
            return _claim(connection, *known, now, lease, self._most, Standing.FAILING)

    def delivered(self, delivery: Delivery, attempt: Attempt) -> bool:
        """The receiver took it. Returns whether more may be due there."""
        values = {
            "id": delivery.id,
            "number": delivery.attempts,
            "receiver": delivery.receiver,
            "at": attempt.at,
            "now": attempt.at + timedelta(seconds=attempt.seconds),
            "seconds": attempt.seconds,
            "status": attempt.status,
            "answer": attempt.answer,
        }
        if delivery.proven and attempt.seconds < SLOW:
            return _more(_TAKEN.alone(self._engine, **values))
        with self._engine.begin() as connection:
            _, before = _met(connection, delivery.receiver)
            _learn(connection, delivery.receiver, before, before.taken(attempt.seconds))
            return _more(_TAKEN(connection, **values))

    def missed(
        self, delivery: Delivery, attempt: Attempt, again: datetime | None, *, counts: bool = True, rest: float = 0
    ) -> Circuit:
        """The receiver did not take it; tried again at `again`, given up when that is None.

        `counts`: whether it says something of the receiver, not only of this delivery. `rest`: seconds for which it
        asked to be left alone.
        """
        with self._engine.begin() as connection:
            _, before = _met(connection, delivery.receiver)
            after = before
            if counts:
                after = before.failed(attempt.at, rest)
                _learn(connection, delivery.receiver, before, after)
            if after.rests(attempt.at):
                _too_old(connection, delivery.receiver, attempt.at)
            _log(connection, delivery, attempt)
            _set(connection, delivery, state="pending" if again else "given_up", due_at=again,
                 tries=deliveries.c.tries + 1, last_status=attempt.status, last_error=attempt.error)  # fmt: skip
        return after

    def put_back(self, delivery: Delivery, due: datetime) -> None:
        """Nothing of it has left: it was no attempt, and is claimed again when it is `due`."""
        with self._engine.begin() as connection:
            _set(connection, delivery, due_at=due, attempts=deliveries.c.attempts - 1)

    def drop(self, delivery: Delivery, reason: str) -> None:
        """There is nobody to tell any more."""
        with self._engine.begin() as connection:
            _set(connection, delivery, state="given_up", due_at=None, last_error=reason)


def _claim(
    connection: Connection, name: str, circuit: Circuit, now: datetime, lease: timedelta, most: int, least: Standing
) -> Delivery | None:
    if circuit.rests(now) or circuit.standing < least:
        return None
    values = {"receiver": name, "now": now, "until": now + lease, "most": circuit.side_by_side(most)}
    pauses = {"pause": retry.DEATH_PAUSE, "longest": retry.DEATH_LONGEST_PAUSE}
    row = _CLAIM(connection, **values, **pauses).fetchone()
    if row is None:
        return None
    occurred = Occurred(row.type, row.sequence, row.at, row.data)
    job = job_of(row) if row.id is not None else None
    facts = (row.delivery, job, row.url, row.receiver, row.attempts, row.tries, row.times, row.begun_at)
    return Delivery(*facts, proven=bool(circuit.proven), occurred=occurred)


def _more(taken: Rows) -> bool:
    """Whether more is due at the receiver of a delivery that was taken."""
    row = taken.fetchone()
    return bool(row and row[0])


def _known(rows: Rows) -> tuple[str, Circuit] | None:
    """A receiver and what is known of it. Its row is locked until the transaction ends."""
    row = rows.fetchone()
    return (row.name, Circuit(row.failures, row.proven, row.open_until)) if row else None


def _met(connection: Connection, name: str) -> tuple[str, Circuit]:
    """As `_known`; a receiver that was never met gets its row."""
    known = _known(_RECEIVER(connection, name=name))
    if known is None:
        connection.execute(upsert(receivers).values(name=name).on_conflict_do_nothing())
        known = _known(_RECEIVER(connection, name=name))
    assert known is not None, "rows of receivers stay"
    return known


def _learn(connection: Connection, name: str, before: Circuit, after: Circuit) -> None:
    """Write down what changed: nothing for a receiver that goes on taking everything."""
    if after != before:
        values = {"failures": after.failures, "proven": after.proven, "open_until": after.open_until}
        connection.execute(update(receivers).where(receivers.c.name == name).values(**values))


def _too_old(connection: Connection, name: str, now: datetime) -> None:
    """Give up what has waited for a resting receiver for too long: it is tried so rarely that schedules never end."""
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
    # If our lease ran out, another process may have the delivery: then its word counts.
    still_ours = deliveries.c.attempts == delivery.attempts
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery.id, still_ours)
        .values(claimed_until=None, begun=0, **values)
    )
