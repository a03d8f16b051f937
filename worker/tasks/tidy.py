"""Clear away what nobody will go on with: files under way of jobs that have ended, and multipart uploads whose worker
was killed before it could write their id down.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from infra.log import logger
from infra.store_errors import StoreError
from worker.copier import Copier
from worker.jobs import keys
from worker.ports import Clock
from worker.store.transfers import Transfers
from worker.tasks.complaints import Complaints

log = logger(__name__)

#: An upload that no row knows may belong to a worker that is about to write its row: it gets this long.
OLD = timedelta(days=1)


def tidy(
    *, transfers: Transfers, copier: Copier, complaints: Complaints, clock: Clock, places: Iterable[tuple[str, str]]
) -> None:
    """Remove what ended jobs left in the bucket, and abort multipart uploads of ours that no row knows.

    `places`: each bucket with the prefix of our keys in it. Uploads of others in the same bucket are left alone, and a
    bucket that can't be reached does not keep the next one from being looked at.
    """
    _clear_left_over(transfers, copier, complaints, clock)
    before = clock() - OLD
    for name, prefix in places:
        try:
            _end_unknown(copier.into(name), prefix, before, transfers)
        except StoreError as fault:
            complaints.hear(name, fault)


def _clear_left_over(transfers: Transfers, copier: Copier, complaints: Complaints, clock: Clock) -> None:
    """Remove partly copied files of jobs that have ended: the store was away then, or Kling later named fewer files.

    What can't be removed now goes to the end of the line, so that it does not keep others from their turn.
    """
    away: set[str] = set()
    for job_id, transfer in transfers.left_over():
        if transfer.bucket in away:
            transfers.put_back(job_id, transfer, clock())
            continue
        try:
            copier.into(transfer.bucket).clear(transfer, _nobody_else)
        except StoreError as fault:
            complaints.hear(transfer.bucket, fault, job_id)
            transfers.put_back(job_id, transfer, clock())
            if fault.is_of_bucket and not fault.forbids:  # who may not delete may end the others' uploads
                away.add(transfer.bucket)
        else:
            transfers.forget(job_id, transfer)
            log.info("transfer.cleared", job=job_id, key=transfer.key)


def _nobody_else() -> None:
    """No lease to check before a delete: the job has ended, so no worker stores files of it any more."""


def _end_unknown(copier: Copier, prefix: str, before: datetime, transfers: Transfers) -> None:
    """Abort old uploads, of our own jobs only: another deployment, with its own rows, may use the same prefix."""
    pattern = keys.pattern(copier.key_template)
    pending = [(one, pattern.fullmatch(one.key)) for one in copier.bucket.pending(prefix) if one.begun_at < before]
    old = [(one, named["job"]) for one, named in pending if named]
    ours = transfers.jobs_of({job_id for _, job_id in old}) if old else set()
    known = transfers.known_uploads() if ours else set()
    for one, job_id in old:
        if job_id in ours and one.upload_id not in known:
            copier.bucket.abort(one.key, one.upload_id)
            log.warning("upload.abandoned", job=job_id, key=one.key, begun_at=one.begun_at.isoformat())
