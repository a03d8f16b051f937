"""Files under way, as rows. Each is written by the holder of the job's lease only."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, select

from infra.db import single
from worker.jobs.transfer import Transfer
from worker.store.statements import SAVE_TRANSFER, TRANSFERS, new
from worker.store.tables import jobs, transfers


class Transfers:
    """The rows of files under way, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._single = single(engine)

    def of(self, job_id: str) -> list[Transfer]:
        """The files of a job that were begun and not proven."""
        rows = TRANSFERS.alone(self._engine, job=job_id)
        return [Transfer(**{**row._asdict(), "etags": tuple(row.etags)}) for row in rows]

    def save(self, job_id: str, owner: str, transfer: Transfer, now: datetime, length: timedelta) -> bool:
        """Write how far a file is, and renew the lease. False when the lease was lost: nothing is written."""
        values = {**asdict(transfer), "etags": list(transfer.etags)}
        times = {"now": now, "until": now + length}
        return SAVE_TRANSFER.alone(self._engine, job=job_id, owner=owner, **times, **new(values)).rowcount == 1

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
