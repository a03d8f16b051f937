"""What expires: payloads, callbacks' bodies, timelines of jobs that ended long ago. Id rows stay, so the same request
is known for ever.

In batches, each a short transaction on a few rows that nobody writes any more: no table is ever locked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from math import inf
from time import monotonic
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Delete,
    Engine,
    Row,
    Select,
    and_,
    delete,
    exists,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import DBAPIError

from infra.db import sqlstate
from infra.log import logger
from worker.jobs.model import ENDS, State
from worker.store.tables import attempts, callbacks, claims, deliveries, events, jobs, payloads, set_aside

log = logger(__name__)

#: Rows of one transaction.
BATCH = 500
#: A statement that took too long, or waited too long for a lock.
_TOO_SLOW = ("57014", "55P03")
#: Where a job may have a result that only the provider has.
_AT_STAKE = (State.RUNNING, State.COPYING)


class Retention:
    """The rows that expire, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def expire(self, before: datetime, *, until: float = inf) -> tuple[int, bool]:
        """Remove what belongs to jobs that ended before then; how many rows went, and whether all did.

        `until`: monotonic seconds, after which the rest is left for another time.
        """
        gone = 0
        for some in (self._ended, self._late, self._aside, self._claims, self._trials):
            for count in _in_time(some, before):
                gone += count
                if monotonic() > until:
                    return gone, False
        return gone, True

    def at_risk(self, since: datetime) -> list[tuple[str, datetime]]:
        """Jobs that the provider took before `since` and whose results are not safe yet, whatever holds them up."""
        query = (
            select(jobs.c.id, jobs.c.submitted_at)
            .where(jobs.c.due_at.is_not(None), jobs.c.state.in_(_AT_STAKE), jobs.c.submitted_at < since)
            .order_by(jobs.c.submitted_at)
        )
        with self._engine.begin() as connection:
            return [(row.id, row.submitted_at) for row in connection.execute(query)]

    def hasten(self, job_ids: list[str]) -> None:
        """Make jobs due before all others: a sweep takes first what has been due longest."""
        waiting = jobs.c.id.in_(job_ids) & jobs.c.state.in_(_AT_STAKE) & jobs.c.lease_owner.is_(None)
        with self._engine.begin() as connection:
            connection.execute(update(jobs).where(waiting).values(due_at=jobs.c.submitted_at))

    def _ended(self, before: datetime) -> Iterator[int]:
        """Remove what belongs to jobs that ended before then; how many rows, as all of these say."""
        after = ""
        while rows := self._walked(_old_jobs(after, before)):
            if job_ids := [row.id for row in rows if row.expires]:
                yield self._forgotten(job_ids)
            if rows[-1].at >= before:  # ids grow with time
                return
            after = rows[-1].id

    def _late(self, before: datetime) -> Iterator[int]:
        """Remove callbacks that came when all else of their job had gone."""
        after = 0
        while rows := self._walked(_old_callbacks(after, before)):
            if ids := [row.id for row in rows if row.expires]:
                yield self._removed(delete(callbacks).where(callbacks.c.id.in_(ids)))
            if rows[-1].at >= before:
                return
            after = rows[-1].id

    def _walked(self, query: Select[Any]) -> Sequence[Row[Any]]:
        with self._engine.begin() as connection:
            return connection.execute(query).all()

    def _forgotten(self, job_ids: list[str]) -> int:
        with self._engine.begin() as connection:
            told = _forget(connection, deliveries.c.job_id.in_(job_ids))
            tables = (payloads, callbacks, events)
            rows = (connection.execute(delete(table).where(table.c.job_id.in_(job_ids))) for table in tables)
            return told + sum(map(_count, rows))

    def _aside(self, before: datetime) -> Iterator[int]:
        """Remove what was set aside."""
        old = select(set_aside.c.id).where(set_aside.c.at < before).limit(BATCH)
        return self._until_none(delete(set_aside).where(set_aside.c.id.in_(old)))

    def _claims(self, before: datetime) -> Iterator[int]:
        """Remove claims that crashes left behind."""
        key = claims.c.caller, claims.c.key
        old = select(*key).where(claims.c.until < before).limit(BATCH)
        return self._until_none(delete(claims).where(tuple_(*key).in_(old)))

    def _until_none(self, some: Delete) -> Iterator[int]:
        while gone := self._removed(some):
            yield gone

    def _removed(self, some: Delete) -> int:
        with self._engine.begin() as connection:
            return _count(connection.execute(some))

    def _trials(self, before: datetime) -> Iterator[int]:
        """Remove test events of subscriptions, and what was told of messages that never became a job."""
        untold = exists().where(deliveries.c.event_id == events.c.id, deliveries.c.state == "pending")
        old = select(events.c.id).where(events.c.job_id.is_(None), events.c.at < before, ~untold).limit(BATCH)
        while rows := self._walked(old):
            ids = [row.id for row in rows]
            with self._engine.begin() as connection:
                gone = _forget(connection, deliveries.c.event_id.in_(ids))
                gone += _count(connection.execute(delete(events).where(events.c.id.in_(ids))))
            yield gone


def _old_jobs(after: str, before: datetime) -> Select[Any]:
    """The next jobs that have a payload, oldest first, and which of them ended before then.

    A walk along the key: to look for those that ended reads, for each batch, all jobs that there ever were.
    """
    some = (
        select(payloads.c.job_id.label("id"), jobs.c.created_at.label("at"), jobs.c.state, jobs.c.updated_at)
        .join(jobs, jobs.c.id == payloads.c.job_id)
        .where(payloads.c.job_id > after)
        .order_by(payloads.c.job_id)
        .limit(BATCH)
        .subquery()
    )
    # What somebody is still to be told is needed for telling it, however short the retention.
    untold = exists().where(deliveries.c.job_id == some.c.id, deliveries.c.state == "pending")
    expires = and_(some.c.state.in_(ENDS), some.c.updated_at < before, ~untold).label("expires")
    return select(some.c.id, some.c.at, expires).order_by(some.c.id)


def _old_callbacks(after: int, before: datetime) -> Select[Any]:
    """The next callbacks, oldest first, and which of them are as old and all that is left of a job that has ended."""
    some = (
        select(callbacks.c.id, callbacks.c.job_id, callbacks.c.received_at.label("at"))
        .where(callbacks.c.id > after)
        .order_by(callbacks.c.id)
        .limit(BATCH)
        .subquery()
    )
    ended = exists().where(jobs.c.id == some.c.job_id, jobs.c.state.in_(ENDS))
    rest = exists().where(payloads.c.job_id == some.c.job_id)
    return select(some.c.id, some.c.at, and_(some.c.at < before, ended, ~rest).label("expires")).order_by(some.c.id)


def _in_time(some: Callable[[datetime], Iterator[int]], before: datetime) -> Iterator[int]:
    """What one part removes, until that takes longer than a statement may, which keeps no other part waiting."""
    try:
        yield from some(before)
    except DBAPIError as fault:
        if sqlstate(fault) not in _TOO_SLOW:
            raise
        log.error("retention.too_slow", part=some.__name__.strip("_"))  # noqa: TRY400 - it says all that there is


def _forget(connection: Connection, which: ColumnElement[bool]) -> int:
    """Deliveries and what became of each attempt."""
    ids = select(deliveries.c.id).where(which)
    gone = _count(connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(ids))))
    return gone + _count(connection.execute(delete(deliveries).where(which)))


def _count(result: CursorResult[tuple[()]]) -> int:
    return result.rowcount
