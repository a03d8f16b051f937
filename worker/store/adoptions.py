"""Adoption: a task that turns up after its job has ended without it gets a new job, once.

The ended job stays as it is, since no job leaves an end. That a task may be there is known from its callbacks: those
that came after the end, and all of a job that ended as `unknown`, are marked `unheard` until somebody has asked Kling.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, DateTime, Engine, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from infra.db import single
from infra.statement import Statement, of_parts
from worker.jobs.events import ATTENTION, inner
from worker.jobs.model import Job, State
from worker.store.rows import JOB_COLUMNS, job_of
from worker.store.tables import callbacks, jobs
from worker.store.telling import Note, addressed, noted, tell, written

#: As `Job.is_stray`, of a row of `jobs`.
STRAY = """(jobs.state in ('unknown', 'expired')
    or (jobs.state = 'failed' and jobs.submissions > 0 and jobs.provider_task_id is null))"""

_SAME = (
    "caller", "account", "family", "model", "callback_url", "on_done", "bucket", "prefix", "slots", "fingerprint",
    "submissions", "expected_units", "list_price",
)  # fmt: skip
_MADE = f"""
    insert into jobs (id, adopted_from, state, provider_task_id, submitted_at, created_at, updated_at, due_at,
        {", ".join(_SAME)})
    select :new_id, id, 'running', :task, :since, :at, :at, :at, {", ".join(_SAME)}
    from jobs where id = :job and {STRAY}
    on conflict do nothing
    returning {", ".join(column.name for column in JOB_COLUMNS)}
"""  # noqa: S608 - names of columns, and a condition of ours
_REQUESTED = """
    insert into payloads (job_id, request)
    select id, (select request from payloads where job_id = :job) from made
"""
_ADOPT = Statement(
    of_parts(
        {"made": _MADE, "requested": _REQUESTED, **written("made", told=True)},
        "select made.*, array(select id from delivered where state = 'pending') as told from made",
    ).bindparams(
        bindparam("data", type_=JSONB), *(bindparam(name, type_=DateTime(timezone=True)) for name in ("at", "since"))
    )
)
_BY = Statement(select(*JOB_COLUMNS).where(jobs.c.adopted_from == bindparam("job")))
_CALLS = Statement(
    text(
        f"""
    select callbacks.id, received_at from callbacks join jobs on jobs.id = job_id
    where job_id = :job and unheard and {STRAY}
    """  # noqa: S608 - a condition of ours
    )
)
# In any order, so that those of which Kling says nothing keep none of the others waiting.
_STRAYS = Statement(
    text(
        f"""
    select id from jobs where id in (select job_id from callbacks where unheard) and {STRAY}
    order by random() limit :limit
    """  # noqa: S608 - as above
    )
)


class Adopted(NamedTuple):
    """The job that has the task of another one."""

    job: Job
    is_new: bool
    deliveries: tuple[str, ...] = ()  #: what can be told at once


class Call(NamedTuple):
    """A callback that nobody has looked into."""

    id: int
    received_at: datetime


class Adoptions:
    """The rows of jobs that have others' tasks, and of the callbacks that tell of such tasks, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._single = single(engine)

    def adopt(self, job: Job, task_id: str, new_id: str, *, since: datetime, now: datetime) -> Adopted | None:
        """Make a running job for the task `task_id` of `job`, with its caller, request and receivers.

        The receivers of both are told. `since`: when the provider took the task. None where `job` did not end without
        its task, or that has a job already.
        """
        note = Note(inner(State.RUNNING), {"event": "adopted", "adopted_from": job.id})
        found = Note(
            ATTENTION.type, {"reason": "task_found", "message": f"its task {task_id} is there: job {new_id} has it"}
        )
        values = {"job": job.id, "new_id": new_id, "task": task_id, "since": since}
        with self._engine.begin() as connection:
            connection.execute(select(jobs.c.id).where(jobs.c.id == job.id).with_for_update())
            row = _ADOPT(connection, **values, **noted(note, now), **addressed(job.caller, note.type)).fetchone()
            if row is None:
                return None
            told = tell(connection, job, found, now)
        return Adopted(job_of(row), True, (*row.told, *told))

    def by(self, job_id: str) -> Job | None:
        """The job that has the task of this one."""
        row = _BY.alone(self._engine, job=job_id).fetchone()
        return job_of(row) if row else None

    def calls(self, job_id: str) -> list[Call]:
        """The callbacks of a job, if it ended without its task, that nobody has looked into."""
        return [Call(*row) for row in _CALLS.alone(self._engine, job=job_id)]

    def settle(self, calls: Sequence[Call]) -> None:
        """These were looked into."""
        ids = [call.id for call in calls]
        with self._single.begin() as connection:
            connection.execute(update(callbacks).where(callbacks.c.id == func.any(ids)).values(unheard=False))

    def strays(self, limit: int) -> list[str]:
        """Ids of jobs that ended without a task, and have callbacks of one that nobody has looked into."""
        return [row.id for row in _STRAYS.alone(self._engine, limit=limit)]


def recall(connection: Connection, job_id: str) -> None:
    """Mark the callbacks of a job that ends as `unknown`: they are looked into as soon as Kling answers."""
    told = update(callbacks).where(callbacks.c.job_id == job_id, callbacks.c.verdict == "understood")
    connection.execute(told.values(unheard=True))
