"""Ask buckets that failed whether they take files again; if so, a job that waits for the bucket tries it at once."""

from __future__ import annotations

from contextlib import suppress

from infra.log import logger
from infra.store_errors import StoreError
from worker.copier import Copier
from worker.jobs import keys
from worker.jobs.model import Job
from worker.label import manifest_label
from worker.ports import Clock
from worker.store.buckets import Buckets

log = logger(__name__)


def reach(*, buckets: Buckets, copier: Copier, clock: Clock) -> None:
    """Look at every bucket that failed and that a job waits for."""
    for job in buckets.look(clock()):
        good = _takes_files(copier.into(job.bucket), job)
        if good:
            log.info("bucket.answers", bucket=job.bucket)
        buckets.looked(job, clock(), good=good)


def _takes_files(copier: Copier, job: Job) -> bool:
    """Whether a multipart upload may be begun: it needs the same permission as a file, and leaves nothing behind."""
    key = keys.manifest_key(copier.key_template, job)
    try:
        upload = copier.bucket.begin(key, **manifest_label(job, key, ""))
    except StoreError as fault:
        log.info("bucket.still_away", bucket=job.bucket, reason=str(fault))
        return False
    with suppress(StoreError):  # or it is ended by `tidy`, or a lifecycle rule
        copier.bucket.abort(key, upload)
    return True
