"""Files under way, as rows. Each is written by the holder of the job's lease only."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from infra.db import single
from worker.jobs.model import State
from worker.jobs.transfer import Transfer
from worker.store.beginnings import later
from worker.store.tables import jobs, transfers

_COLUMNS = [transfers.c[field.name] for field in fields(Transfer)]


class Transfers:
    """The rows of files under way, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._single = single(engine)

    def of(self, job_id: str) -> list[Transfer]:
        """The files of a job that were begun and not proven."""
        with self._single.begin() as connection:
            rows = connection.execute(select(*_COLUMNS).where(transfers.c.job_id == job_id)).mappings().all()
        return [Transfer(**{**row, "etags": tuple(row["etags"])}) for row in rows]

    def save(self, job_id: str, owner: str, transfer: Transfer, now: datetime, length: timedelta) -> bool:
        """Write how far a file is, and renew the lease. False when the lease was lost: nothing is written."""
        values = {**asdict(transfer), "etags": list(transfer.etags)}
        with self._engine.begin() as connection:
            held = connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.lease_owner == owner, jobs.c.state == State.COPYING)
                .values(lease_until=now + length, due_at=later(now + length))
            )
            if held.rowcount != 1:
                return False
            place = ["job_id", "kind", "variant", "ordinal"]
            row = upsert(transfers).values(job_id=job_id, begun_at=now, **values)
            connection.execute(row.on_conflict_do_update(index_elements=place, set_=values))
        return True

    def forget(self, job_id: str) -> None:
        """Forget all of a job that has ended; uploads that no row knows are cleared away in time."""
        with self._engine.begin() as connection:
            connection.execute(delete(transfers).where(transfers.c.job_id == job_id))

    def drop(self, job_id: str, owner: str, transfer: Transfer) -> bool:
        """Forget a file under way. False when the lease was lost: nothing is forgotten."""
        with self._engine.begin() as connection:
            held = select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.lease_owner == owner).with_for_update()
            if connection.execute(held).one_or_none() is None:
                return False
            connection.execute(
                delete(transfers).where(
                    transfers.c.job_id == job_id,
                    transfers.c.kind == transfer.kind,
                    transfers.c.variant == transfer.variant,
                    transfers.c.ordinal == transfer.ordinal,
                )
            )
        return True

    def known_uploads(self) -> set[str]:
        """Ids of the multipart uploads that somebody will go on with."""
        with self._single.begin() as connection:
            query = select(transfers.c.upload_id).where(transfers.c.upload_id.is_not(None))
            return set(connection.execute(query).scalars())
