"""End multipart uploads that nobody will go on with: their worker was killed before it could write their id down."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from infra.log import logger
from infra.object_store import StoreError
from worker.ports import Bucket, Clock
from worker.store.transfers import Transfers

log = logger(__name__)

#: An upload that no row knows may belong to a worker that is about to write its row: it gets this long.
OLD = timedelta(days=1)


def tidy(*, transfers: Transfers, bucket: Bucket, clock: Clock, prefixes: Iterable[str]) -> None:
    """End old uploads below `prefixes` that no row knows. The bucket may hold others' uploads beside ours."""
    before = clock() - OLD
    try:
        found = (pending for prefix in prefixes for pending in bucket.pending(prefix))
        old = [pending for pending in found if pending.begun_at < before]
        unknown = {pending.upload_id for pending in old} - transfers.known_uploads()
        for pending in old:
            if pending.upload_id in unknown:
                bucket.abort(pending.key, pending.upload_id)
                log.warning("upload.abandoned", key=pending.key, begun_at=pending.begun_at.isoformat())
    except StoreError as fault:
        log.warning("tidy.not_now", reason=str(fault))
