"""End multipart uploads that nobody will go on with: their worker was killed before it could write their id down."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from infra.log import logger
from infra.object_store import StoreError
from worker.ports import Bucket, Clock
from worker.store.transfers import Transfers

log = logger(__name__)

#: An upload that no row knows may belong to a worker that is about to write its row: it gets this long.
OLD = timedelta(days=1)


def tidy(*, transfers: Transfers, bucket: Bucket, clock: Clock, places: Iterable[tuple[str, str]]) -> None:
    """End old uploads that no row knows in `places`: buckets, and what our keys begin with there. A bucket may hold
    others' uploads beside ours, and one that can't be reached keeps nobody from the next.
    """
    before = clock() - OLD
    for name, prefix in places:
        try:
            _tidy(bucket.of(name), prefix, before, transfers)
        except StoreError as fault:
            log.warning("tidy.not_now", bucket=name, reason=str(fault))


def _tidy(bucket: Bucket, prefix: str, before: datetime, transfers: Transfers) -> None:
    old = [pending for pending in bucket.pending(prefix) if pending.begun_at < before]
    known = transfers.known_uploads() if old else set()
    for pending in old:
        if pending.upload_id not in known:
            bucket.abort(pending.key, pending.upload_id)
            log.warning("upload.abandoned", key=pending.key, begun_at=pending.begun_at.isoformat())
