"""Files under way, as rows. Each is written by the holder of the job's lease only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, delete, select, update

from infra.db import single
from worker.jobs.model import ENDS
from worker.jobs.transfer import Rest, Transfer
from worker.store.statements import SAVE_TRANSFER, TRANSFERS, new
from worker.store.tables import jobs, transfers

#: What tells the files of a job apart.
_PLACE = ("kind", "variant", "ordinal")
#: Files that are cleared away at a time.
_LEFT_OVER = 500


class Transfers:
    """The rows of files under way, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._single = single(engine)

    def of(self, job_id: str) -> list[Transfer]:
        """The files of a job that were begun and not proven."""
        rows = TRANSFERS.alone(self._engine, job=job_id)
        return [_transfer(row._asdict()) for row in rows]

    def save(self, job_id: str, owner: str, transfer: Transfer, now: datetime, length: timedelta) -> bool:
        """Write how far a file is, and renew the lease. False when the lease was lost: nothing is written."""
        values = {**asdict(transfer), "etags": list(transfer.etags), "intended": _intended(transfer)}
        times = {"now": now, "until": now + length}
        return SAVE_TRANSFER.alone(self._engine, job=job_id, owner=owner, **times, **new(values)).rowcount == 1

    def forget(self, job_id: str, transfer: Transfer | None = None) -> None:
        """Forget a file of a job that has ended, or all of them; uploads that no row knows are cleared away in time."""
        which = _is(job_id, transfer) if transfer else transfers.c.job_id == job_id
        with self._engine.begin() as connection:
            connection.execute(delete(transfers).where(which))

    def drop(self, job_id: str, owner: str, transfer: Transfer) -> bool:
        """Forget a file under way. False when the lease was lost: nothing is forgotten."""
        with self._engine.begin() as connection:
            held = select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.lease_owner == owner).with_for_update()
            if connection.execute(held).one_or_none() is None:
                return False
            connection.execute(delete(transfers).where(_is(job_id, transfer)))
        return True

    def left_over(self) -> list[tuple[str, Transfer]]:
        """Files under way of jobs that have ended: what could not be cleared away then. Some of them, those first that
        have waited longest since they were begun or `put_back`.
        """
        named = [transfers.c[field.name] for field in fields(Transfer)]
        query = select(transfers.c.job_id, *named).join(jobs).where(jobs.c.state.in_(ENDS))
        query = query.order_by(transfers.c.begun_at, transfers.c.job_id)
        with self._single.begin() as connection:
            rows = [dict(row) for row in connection.execute(query.limit(_LEFT_OVER)).mappings()]
        return [(row.pop("job_id"), _transfer(row)) for row in rows]

    def put_back(self, job_id: str, transfer: Transfer, now: datetime) -> None:
        """Let all others that are left over go before this one."""
        with self._single.begin() as connection:
            connection.execute(update(transfers).where(_is(job_id, transfer)).values(begun_at=now))

    def known_uploads(self) -> set[str]:
        """Ids of the multipart uploads that somebody will go on with."""
        query = select(transfers.c.upload_id).join(jobs).where(jobs.c.state.not_in(ENDS))
        with self._single.begin() as connection:
            return set(connection.execute(query.where(transfers.c.upload_id.is_not(None))).scalars())

    def jobs_of(self, ids: Iterable[str]) -> set[str]:
        """Those of these ids that are of jobs of ours."""
        query = select(jobs.c.id).where(jobs.c.id.in_(list(ids)))
        with self._single.begin() as connection:
            return set(connection.execute(query).scalars())


def _is(job_id: str, transfer: Transfer) -> ColumnElement[bool]:
    return and_(transfers.c.job_id == job_id, *(transfers.c[name] == getattr(transfer, name) for name in _PLACE))


def _transfer(row: dict[str, Any]) -> Transfer:
    rest = Rest(**row["rest"]) if row["rest"] else None
    # The version before knows of none, and leaves it as it is when it goes on, or begins with another file.
    if rest and (rest.start, rest.validator) != (row["size"], row["validator"]):
        rest = None
    # Nor does it know of this: what it does to the upload shows only by the upload, or by how far that is.
    said = row["intended"] or {}
    same = (said.get("upload_id"), said.get("start")) == (row["upload_id"], row["size"])
    intended = tuple(said["lengths"]) if said and same else None if row["upload_id"] else ()
    return Transfer(**{**row, "etags": tuple(row["etags"]), "rest": rest, "intended": intended})


def _intended(transfer: Transfer) -> dict[str, Any] | None:
    if transfer.upload_id is None or transfer.intended is None:
        return None
    return {"upload_id": transfer.upload_id, "start": transfer.size, "lengths": list(transfer.intended)}
