"""What rows say of manifests: which jobs ended with files and without one, and what a job's is to call missing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, Engine, and_, exists, func, select, update

from infra.db import single
from worker.jobs.events import LEFT_OUT
from worker.jobs.model import ENDS, Job, State
from worker.store.rows import JOB_COLUMNS, job_of
from worker.store.tables import events, files, jobs
from worker.store.telling import NOTED, Note, noted

#: Kind, variant and ordinal of an output.
Place = tuple[str, str, int]
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
        self._engine = engine
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

    def left_out(self, job_id: str) -> dict[Place, str]:
        """What a job does without, and why, as the first of its workers has settled it."""
        with self._single.begin() as connection:
            return _left_out(connection, job_id)

    def leave_out(self, job_id: str, owner: str, faults: Mapping[Place, str], now: datetime) -> dict[Place, str] | None:
        """Settle that a job does without `faults`; what it does without now, as what was settled before stands. None
        when the lease was lost: nothing is written.
        """
        with self._engine.begin() as connection:
            held = select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.lease_owner == owner).with_for_update()
            if connection.execute(held).one_or_none() is None:
                return None
            before = _left_out(connection, job_id)
            left = {**faults, **before}
            if left != before:
                outputs = [[*place, reason.replace("\0", "")] for place, reason in left.items()]
                NOTED(connection, job=job_id, **noted(Note(LEFT_OUT, {"outputs": outputs}), now))
                left = _left_out(connection, job_id)
            return left

    def written(self, job_id: str, said: Mapping[str, str]) -> None:
        """Say of a job that has ended where its manifest lies."""
        with self._single.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id, _UNRECORDED).values(**said))


def _left_out(connection: Connection, job_id: str) -> dict[Place, str]:
    said = select(events.c.data["outputs"]).where(events.c.job_id == job_id, events.c.type == LEFT_OUT)
    outputs = connection.execute(said.order_by(events.c.sequence.desc()).limit(1)).scalar() or []
    return {(kind, variant, ordinal): reason for kind, variant, ordinal, reason in outputs}
