"""Which jobs ended with files and without a manifest of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Engine, and_, exists, func, select, update

from infra.db import single
from worker.jobs.model import ENDS, Job, State
from worker.store.rows import JOB_COLUMNS, job_of
from worker.store.tables import files, jobs

#: Jobs that are looked after at a time.
_SOME = 500
#: An archived job has one; those of older versions have it where no row says so.
_UNRECORDED: ColumnElement[bool] = and_(
    jobs.c.state.in_(ENDS - {State.ARCHIVED}),
    jobs.c.manifest_key.is_(None),
    exists().where(files.c.job_id == jobs.c.id),
)


class Manifests:
    """What rows say of manifests, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._single = single(engine)

    def missing(self, since: datetime) -> list[Job]:
        """Some jobs that ended since then with files and without a manifest, the newest first."""
        query = select(*JOB_COLUMNS).where(_UNRECORDED, jobs.c.updated_at >= since)
        with self._single.begin() as connection:
            return [job_of(row) for row in connection.execute(query.order_by(jobs.c.updated_at.desc()).limit(_SOME))]

    def stored_at(self, job_id: str) -> datetime | None:
        """When the last file of a job was proven."""
        with self._single.begin() as connection:
            latest = select(func.max(files.c.stored_at)).where(files.c.job_id == job_id)
            moment: datetime | None = connection.execute(latest).scalar_one()
        return moment and moment.astimezone(UTC)

    def written(self, job_id: str, said: Mapping[str, str]) -> None:
        """Say of a job that has ended where its manifest lies."""
        with self._single.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id, _UNRECORDED).values(**said))
