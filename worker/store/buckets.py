"""Buckets that take no files just now: since when and why, and who may try again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, and_, delete, exists, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert

from infra.db import single
from infra.store_errors import StoreError
from worker.jobs import retry
from worker.jobs.model import Job, State
from worker.store.rows import JOB_COLUMNS, job_of
from worker.store.tables import buckets, jobs

#: What a job's row says while it waits for its bucket.
AWAY = "bucket_away"
#: The code in what a `StoreError` says; a sentence of ours has none.
_CODE = re.compile(r"S3 [a-z ]+: ([A-Z][A-Za-z0-9.]*|[0-9]{3})(?= |$)")
#: How long whoever tries a bucket has it to himself.
_TRIAL = timedelta(seconds=60)
#: So often is a bucket that failed looked at; and how long one look may take.
_LOOK_EVERY, _LOOK = timedelta(seconds=60), timedelta(minutes=6)


@dataclass(frozen=True)
class Away:
    """A bucket that failed, and was not seen to take anything since then. `name` is empty for the deployment's own."""

    name: str
    since: datetime
    reason: str

    @property
    def code(self) -> str:
        """The word for it alone, the store's or the client's, such as AccessDenied; empty where there is none."""
        found = _CODE.match(self.reason)
        return found[1] if found else ""


class Buckets:
    """The rows of buckets that failed, through one engine. One that takes files has none."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._single = single(engine)

    def failed(self, name: str, fault: StoreError, now: datetime) -> datetime:
        """Write what a bucket said; when it is tried again: the longer it has failed, the later."""
        said = {"reason": str(fault)[:500], "lasts": fault.lasts}
        known = upsert(buckets).values(name=name, since=now, probe_at=now, look_at=now + _LOOK_EVERY, **said)
        with self._engine.begin() as connection:
            known = known.on_conflict_do_update(index_elements=["name"], set_=said)
            since = connection.execute(known.returning(buckets.c.since)).scalar_one()
            again = retry.bucket_again(since, now)
            connection.execute(update(buckets).where(buckets.c.name == name).values(probe_at=again))
        return again

    def rests(self, name: str, now: datetime) -> datetime | None:
        """Until when a bucket is left alone; None: the caller may try it now, and all others wait for the outcome."""
        taken = update(buckets).where(buckets.c.name == name, buckets.c.probe_at <= now).values(probe_at=now + _TRIAL)
        with self._engine.begin() as connection:
            if connection.execute(taken.returning(buckets.c.name)).first():
                return None
            return connection.execute(select(buckets.c.probe_at).where(buckets.c.name == name)).scalar_one_or_none()

    def answers(self, name: str, now: datetime) -> int:
        """A bucket takes files again: make all jobs that wait for it due; how many there were.

        Only the first caller does that, so that many workers don't all write the same rows.
        """
        with self._engine.begin() as connection:
            if not connection.execute(delete(buckets).where(buckets.c.name == name)).rowcount:
                return 0
            return connection.execute(update(jobs).where(jobs.c.bucket == name, _WAITING).values(due_at=now)).rowcount

    def look(self, now: datetime) -> list[Job]:
        """For each failed bucket that is due for a look: the job that has waited longest for it.

        The caller looks at the bucket, and reports with `looked`; nobody else is given the same one meanwhile.
        """
        due = update(buckets).where(buckets.c.look_at <= now).values(look_at=now + _LOOK).returning(buckets.c.name)
        first = select(*JOB_COLUMNS).ext(distinct_on(jobs.c.bucket)).order_by(jobs.c.bucket, jobs.c.created_at)
        with self._engine.begin() as connection:
            names = connection.execute(due).scalars().all()
            found = [job_of(row) for row in connection.execute(first.where(jobs.c.bucket.in_(names), _WAITING))]
            idle = buckets.c.name.in_({*names} - {job.bucket for job in found})
            nobody = ~exists().where(jobs.c.bucket == buckets.c.name, _HELD_UP)  # wants to know
            connection.execute(delete(buckets).where(idle, nobody))
            connection.execute(update(buckets).where(idle).values(look_at=now + _LOOK_EVERY))
        return found

    def looked(self, job: Job, now: datetime, *, good: bool) -> None:
        """Write down how a look at the bucket of `job` went. `good`: it may take files, so the job tries it at once."""
        values = {"look_at": now + _LOOK_EVERY, **({"probe_at": now} if good else {})}
        with self._engine.begin() as connection:
            connection.execute(update(buckets).where(buckets.c.name == job.bucket).values(**values))
            if good:
                connection.execute(update(jobs).where(jobs.c.id == job.id, _WAITING).values(due_at=now))

    def away(self) -> list[Away]:
        """Every bucket that failed and was not heard of since, by name."""
        query = select(buckets.c.name, buckets.c.since, buckets.c.reason).order_by(buckets.c.name)
        with self._single.begin() as connection:
            return [Away(*row) for row in connection.execute(query)]


#: Whether a job waits for its bucket, or somebody tries that for its sake just now.
_HELD_UP: ColumnElement[bool] = and_(
    jobs.c.due_at.is_not(None), jobs.c.state == State.COPYING, jobs.c.error_code == AWAY
)
#: Whether it waits.
_WAITING: ColumnElement[bool] = and_(_HELD_UP, jobs.c.lease_owner.is_(None))
