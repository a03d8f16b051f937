"""The columns of a job's row that count steps which were begun and of which nothing was heard again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, or_

from worker.jobs.machine import Step
from worker.jobs.model import State
from worker.store.tables import jobs

#: The values once something was heard; `queued` stays only where what was heard is that it waits for slots.
HEARD: Mapping[str, Any] = MappingProxyType({"begun": 0, "begun_at": None, "queued": False})
#: Beginnings closer together than this are messages that came twice, not deaths.
ONE_BEGINNING = timedelta(seconds=10)
#: How long a job is left to the process that began a step of it, unless that says otherwise.
STEP = timedelta(seconds=20)
_WANTS = MappingProxyType(
    {
        Step.SUBMIT: jobs.c.state.in_([literal(State.ACCEPTED), literal(State.WAITING)]),
        # A create that was thought absent may show itself after all.
        Step.FOLLOW_UP: or_(
            jobs.c.state.in_([literal(State.SUBMITTING), literal(State.RUNNING)]),
            and_(jobs.c.state == State.ACCEPTED, jobs.c.submissions > 0),
        ),
    }
)


def wants(step: Step) -> ColumnElement[bool]:
    """Whether a job wants `step` now."""
    return _WANTS[step]


def begun(now: Any, soon: Any) -> dict[str, Any]:
    """The values that count one more beginning at `now`; not where the last one was after `soon`: the same one."""
    counts = or_(jobs.c.begun_at.is_(None), jobs.c.begun_at <= soon)
    return {
        "begun": jobs.c.begun + case((counts, 1), else_=0),
        "begun_at": case((counts, now), else_=jobs.c.begun_at),
    }


def unless_called(read: Any, due_at: Any) -> ColumnElement[datetime]:
    """`due_at`, unless the row has become due before the time that was `read` from it: then that stays.

    Only a callback, a freed slot or an account that goes on makes a job due sooner; claims and leases only put it off.
    The work that ends now may not know of that callback, so it must not push the job back.
    """
    return case((jobs.c.due_at < read, jobs.c.due_at), else_=due_at)


def later(moment: Any) -> ColumnElement[datetime]:
    """When a job that shows signs of life is due: not before it would be begun again if this were its death."""
    return func.greatest(jobs.c.due_at, moment)
