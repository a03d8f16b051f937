"""What a job's row says of a step that was begun and not heard of again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, case, func, or_, update

from worker.jobs.machine import Step
from worker.jobs.model import Job, State
from worker.store.tables import jobs

#: Once something was heard of it.
HEARD: Mapping[str, Any] = MappingProxyType({"begun": 0, "begun_at": None})
#: Beginnings closer together than this are messages that came twice, not deaths.
_ONE_BEGINNING = timedelta(seconds=10)
#: How long a job is left to the process that began a step of it, unless that says otherwise.
_STEP = timedelta(seconds=20)
_WANTS = MappingProxyType(
    {
        Step.SUBMIT: jobs.c.state == State.ACCEPTED,
        # A create that was thought absent may show itself after all.
        Step.FOLLOW_UP: or_(
            jobs.c.state.in_([State.SUBMITTING, State.RUNNING]),
            and_(jobs.c.state == State.ACCEPTED, jobs.c.submissions > 0),
        ),
    }
)


def beginning(job_id: str, step: Step, now: datetime) -> Update:
    """Write down that a step of a job is begun, if the job wants it."""
    # While it is worked on it is not due, so what makes it due then can be told from what began the step.
    due_at = later(now + _STEP)
    return update(jobs).where(jobs.c.id == job_id, _WANTS[step]).values(due_at=due_at, **begun(now))


def begun(now: datetime) -> dict[str, Any]:
    """The values that count one more beginning."""
    counts = or_(jobs.c.begun_at.is_(None), jobs.c.begun_at <= now - _ONE_BEGINNING)
    return {
        "begun": jobs.c.begun + case((counts, 1), else_=0),
        "begun_at": case((counts, now), else_=jobs.c.begun_at),
    }


def unless_called(job: Job, due_at: datetime) -> ColumnElement[datetime]:
    """When a job that was worked on is due next: sooner, if a callback or a freed slot said so since `job` was read.

    Claims and leases only put a job off. What makes it due sooner came from elsewhere, and the work may not know of it.
    """
    return case((jobs.c.due_at < job.due_at, jobs.c.due_at), else_=due_at)


def later(moment: datetime) -> ColumnElement[datetime]:
    """When a job that shows signs of life is due: not before it would be begun again if this were its death."""
    return func.greatest(jobs.c.due_at, moment)
