"""Pipelines: which jobs use the results of which earlier ones.

A row leads from a job to one that was there before it. It is written in the transaction that makes the later job, and
never changes; so there can be no cycles, and a job's `depth` is greater than that of any job it stands on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import CTE, Connection, Engine, Select, insert, literal, or_, select, union, update

from infra.db import single
from worker.jobs.model import ENDS, Job, State
from worker.store.beginnings import HEARD
from worker.store.rows import JOB_COLUMNS, job_of
from worker.store.tables import dependencies, jobs

#: A chain is shown up to so many jobs.
_SHOWN = 200
BAD_ENDS = ENDS - {State.ARCHIVED}


class EarlierEnded(Exception):
    """A job that a new one wants to stand on has ended without a result."""

    def __init__(self, name: str, state: State) -> None:
        super().__init__(f"job {name!r} ended as {state}")
        self.name = name
        self.state = state


@dataclass(frozen=True)
class After:
    """The earlier jobs that a new one stands on."""

    ids: Mapping[str, str]  #: our ids, by what the request calls them
    depth: int
    judged: bool = True  #: whether what they made is held to the provider's rules


@dataclass(frozen=True)
class Earlier:
    """A job that another stands on."""

    name: str  #: what the later one's request calls it
    judged: bool
    job: Job


class Chains:
    """The rows of dependencies, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._single = single(engine)

    def earlier(self, job_id: str) -> list[Earlier]:
        """The jobs that a job stands on."""
        query = (
            select(*JOB_COLUMNS, dependencies.c.name.label("called"), dependencies.c.judged)
            .join(jobs, jobs.c.id == dependencies.c.after_id)
            .where(dependencies.c.job_id == job_id)
            .order_by(dependencies.c.name)
        )
        with self._single.begin() as connection:
            return [Earlier(row.called, row.judged, job_of(row)) for row in connection.execute(query)]

    def put_off(self, job_id: str, until: datetime) -> None:
        """Let a job wait on, unless one that it waits for has ended meanwhile.

        The row is locked before the others are read: whoever ends one of them makes this one due before or after.
        """
        states = select(jobs.c.state).where(jobs.c.id.in_(_before(job_id)))
        with self._engine.begin() as connection:
            connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update(key_share=True))
            found = set(connection.execute(states).scalars())
            if found - {State.ARCHIVED} and not found & BAD_ENDS:
                waits = update(jobs).where(jobs.c.id == job_id, jobs.c.state == State.WAITING)
                connection.execute(waits.values(due_at=until, **HEARD))

    def neighbours(self, job_id: str) -> tuple[list[str], list[str]]:
        """The jobs that a job stands on, and those that stand on it."""
        query = (
            select(dependencies.c.job_id, dependencies.c.after_id)
            .where(or_(dependencies.c.job_id == job_id, dependencies.c.after_id == job_id))
            .distinct()
            .order_by(dependencies.c.after_id, dependencies.c.job_id)
            .limit(_SHOWN)
        )
        with self._engine.begin() as connection:
            rows = connection.execute(query).all()
        after = [row.after_id for row in rows if row.job_id == job_id]
        return after, [row.job_id for row in rows if row.after_id == job_id]

    def members(self, job_id: str) -> list[Job]:
        """All that a job stands on, itself, and all that stands on it; the earlier ones first."""
        up, down = _closure(job_id, "job_id", "after_id"), _closure(job_id, "after_id", "job_id")
        mine = union(select(up.c.id), select(down.c.id), select(literal(job_id)))
        query = (
            select(*JOB_COLUMNS)
            .where(jobs.c.id.in_(mine))
            .order_by(jobs.c.depth, jobs.c.created_at, jobs.c.id)
            .limit(_SHOWN)
        )
        with self._engine.begin() as connection:
            return [job_of(row) for row in connection.execute(query)]


def join(connection: Connection, job_id: str, after: After) -> None:
    """Make a new job stand on earlier ones, in the transaction that makes it. Raises `EarlierEnded`.

    Their rows are locked, so none of them ends unseen: whoever ends one later reads in its row that it is awaited.
    Lower ones first, as a chain that ends locks its own.
    """
    ids = set(after.ids.values())
    locked = select(jobs.c.id, jobs.c.state).where(jobs.c.id.in_(ids)).order_by(jobs.c.depth, jobs.c.id)
    states = {row.id: State(row.state) for row in connection.execute(locked.with_for_update(key_share=True))}
    for name, earlier in after.ids.items():
        if states[earlier] in BAD_ENDS:
            raise EarlierEnded(name, states[earlier])
    connection.execute(update(jobs).where(jobs.c.id.in_(ids), ~jobs.c.awaited).values(awaited=True))
    rows = [
        {"job_id": job_id, "name": name, "after_id": earlier, "judged": after.judged}
        for name, earlier in after.ids.items()
    ]
    connection.execute(insert(dependencies), rows)


def wake_later(connection: Connection, job: Job, now: datetime) -> tuple[str, ...]:
    """Make the jobs due that wait for one that has just ended, in the transaction that ends it."""
    if not job.awaited:
        return ()
    later = select(dependencies.c.job_id).where(dependencies.c.after_id == job.id)
    due = update(jobs).where(jobs.c.id.in_(later), jobs.c.state == State.WAITING).values(due_at=now)
    return tuple(connection.execute(due.returning(jobs.c.id)).scalars())


def _before(job_id: str) -> Select[str]:
    return select(dependencies.c.after_id).where(dependencies.c.job_id == job_id)


def _closure(job_id: str, here: str, there: str) -> CTE:
    """Every job that rows lead to from a job, followed from column `here` to column `there`."""
    rows = dependencies.c
    first = select(rows[there].label("id")).where(rows[here] == job_id).cte(there, recursive=True)
    return first.union(select(rows[there]).join(first, rows[here] == first.c.id))
