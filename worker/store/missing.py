"""What the timeline remembers of tasks that the provider says it doesn't have: since when it says so of this one, and
how many creates made none.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select

from worker.jobs.events import MISSING
from worker.jobs.model import Job
from worker.store.tables import events, jobs
from worker.store.telling import NOTED, Note, noted

#: The field of a timeline entry that counts creates which were proven absent: 1 for the first.
ABSENT = "absent"


def absences(connection: Connection, job: Job) -> tuple[int, datetime | None]:
    """How many creates of a job were proven absent, and when the first one was: as its moves have noted."""
    proven = select(func.count(), func.min(events.c.at)).where(events.c.job_id == job.id, events.c.data.has_key(ABSENT))
    number, first = connection.execute(proven).one()
    return number, first


def since(connection: Connection, job: Job, now: datetime) -> datetime:
    """When the provider began to say that it has no such task: `now`, written down, if the last answer was another."""
    connection.execute(select(jobs.c.id).where(jobs.c.id == job.id).with_for_update())
    said = select(func.max(events.c.at)).where(events.c.job_id == job.id, events.c.type == MISSING)
    began: datetime | None = connection.execute(said).scalar() if job.lookups else None
    if began is None:
        NOTED(connection, job=job.id, **noted(Note(MISSING, {}), now))
    return began or now
