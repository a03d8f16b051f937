"""What expires: payloads, callbacks' bodies, timelines of jobs that ended long ago. Id rows stay, so the same request
is known for ever.

In batches, each a short transaction on a few rows that nobody writes any more: no table is ever locked.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from math import inf
from time import monotonic

from sqlalchemy import ColumnElement, Connection, CursorResult, Engine, delete, exists, func, select, tuple_, update
from sqlalchemy.exc import DBAPIError

from infra.db import sqlstate
from infra.log import logger
from worker.jobs.model import ENDS, State
from worker.store.tables import attempts, callbacks, claims, deliveries, events, jobs, payloads, set_aside

log = logger(__name__)

#: Rows of one transaction.
BATCH = 500
#: Above every id.
_NO_ID = 2**63 - 1
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
            while batch := _in_time(some, before):
                gone += batch
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

    def _expired(self, before: datetime) -> list[str]:
        # What somebody is still to be told is needed for telling it, however short the retention.
        untold = exists().where(deliveries.c.job_id == payloads.c.job_id, deliveries.c.state == "pending")
        query = (
            select(payloads.c.job_id)
            .join(jobs, jobs.c.id == payloads.c.job_id)
            .where(jobs.c.state.in_(ENDS), jobs.c.updated_at < before, ~untold)
            .order_by(payloads.c.job_id)  # ids grow with time: the oldest lie at the index's beginning
            .limit(BATCH)
        )
        with self._engine.begin() as connection:
            return list(connection.execute(query).scalars())

    def _late(self, before: datetime) -> int:
        """Remove callbacks that came when all else of their job had gone; how many at once."""
        # Ids grow with time, and what is old has mostly gone: the first young one lies near the index's beginning.
        young = select(callbacks.c.id).where(callbacks.c.received_at >= before).order_by(callbacks.c.id).limit(1)
        late = (
            select(callbacks.c.id)
            .join(jobs, jobs.c.id == callbacks.c.job_id)
            .where(callbacks.c.id < func.coalesce(young.scalar_subquery(), _NO_ID))
            .where(callbacks.c.received_at < before, jobs.c.state.in_(ENDS))
            .where(~exists().where(payloads.c.job_id == callbacks.c.job_id))
            .limit(BATCH)
        )
        with self._engine.begin() as connection:
            return _count(connection.execute(delete(callbacks).where(callbacks.c.id.in_(late))))

    def _ended(self, before: datetime) -> int:
        """Remove what belongs to some jobs that ended before then; how many rows, as all of these say."""
        job_ids = self._expired(before)
        with self._engine.begin() as connection:
            told = _forget(connection, deliveries.c.job_id.in_(job_ids)) if job_ids else 0
            tables = (payloads, callbacks, events) if job_ids else ()
            rows = (connection.execute(delete(table).where(table.c.job_id.in_(job_ids))) for table in tables)
            return told + sum(map(_count, rows))

    def _aside(self, before: datetime) -> int:
        """Remove what was set aside."""
        old = select(set_aside.c.id).where(set_aside.c.at < before).limit(BATCH)
        with self._engine.begin() as connection:
            return _count(connection.execute(delete(set_aside).where(set_aside.c.id.in_(old))))

    def _claims(self, before: datetime) -> int:
        """Remove claims that crashes left behind."""
        key = claims.c.caller, claims.c.key
        old = select(*key).where(claims.c.until < before).limit(BATCH)
        with self._engine.begin() as connection:
            return _count(connection.execute(delete(claims).where(tuple_(*key).in_(old))))

    def _trials(self, before: datetime) -> int:
        """Remove test events of subscriptions, and what was told of messages that never became a job."""
        untold = exists().where(deliveries.c.event_id == events.c.id, deliveries.c.state == "pending")
        old = select(events.c.id).where(events.c.job_id.is_(None), events.c.at < before, ~untold).limit(BATCH)
        with self._engine.begin() as connection:
            ids = list(connection.execute(old).scalars())
            gone = _forget(connection, deliveries.c.event_id.in_(ids)) if ids else 0
            return gone + (_count(connection.execute(delete(events).where(events.c.id.in_(ids)))) if ids else 0)


def _in_time(some: Callable[[datetime], int], before: datetime) -> int:
    """What one part removed; none where that takes longer than a statement may, which keeps no other part waiting."""
    try:
        return some(before)
    except DBAPIError as fault:
        if sqlstate(fault) not in _TOO_SLOW:
            raise
        log.error("retention.too_slow", part=some.__name__.strip("_"))  # noqa: TRY400 - it says all that there is
        return 0


def _forget(connection: Connection, which: ColumnElement[bool]) -> int:
    """Deliveries and what became of each attempt."""
    ids = select(deliveries.c.id).where(which)
    gone = _count(connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(ids))))
    return gone + _count(connection.execute(delete(deliveries).where(which)))


def _count(result: CursorResult[tuple[()]]) -> int:
    return result.rowcount
