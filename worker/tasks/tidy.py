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

log = logger(__name__)

#: An upload that no row knows may belong to a worker that is about to write its row: it gets this long.
OLD = timedelta(days=1)


def tidy(*, transfers: Transfers, copier: Copier, clock: Clock, places: Iterable[tuple[str, str]]) -> None:
    """End old uploads that no row knows in `places`: buckets, and what our keys begin with there. A bucket may hold
    others' uploads beside ours, and one that can't be reached keeps nobody from the next.
    """
    _clear_left_over(transfers, copier)
    before = clock() - OLD
    for name, prefix in places:
        try:
            _end_unknown(copier.into(name), prefix, before, transfers)
        except StoreError as fault:
            log.warning("tidy.not_now", bucket=name, reason=str(fault))


def _clear_left_over(transfers: Transfers, copier: Copier) -> None:
    """The store may have been away when their job was given up, or Kling named fewer files the last time."""
    for job_id, transfer in transfers.left_over():
        try:
            copier.into(transfer.bucket).clear(transfer)
        except StoreError as fault:
            log.warning("tidy.not_now", job=job_id, bucket=transfer.bucket, reason=str(fault))
        else:
            transfers.forget(job_id, transfer)
            log.info("transfer.cleared", job=job_id, key=transfer.key)


def _end_unknown(copier: Copier, prefix: str, before: datetime, transfers: Transfers) -> None:
    ours = keys.pattern(copier.key_template)
    pending = (one for one in copier.bucket.pending(prefix) if ours.fullmatch(one.key))
    old = [one for one in pending if one.begun_at < before]
    known = transfers.known_uploads() if old else set()
    for one in old:
        if one.upload_id not in known:
            copier.bucket.abort(one.key, one.upload_id)
            log.warning("upload.abandoned", key=one.key, begun_at=one.begun_at.isoformat())
