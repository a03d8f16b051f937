"""Who hears of what goes wrong beside a job, and does not change how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from infra.log import logger
from infra.store_errors import StoreError
from worker import messages
from worker.jobs.model import OTHER, Job
from worker.kling.links import MOST, field
from worker.ports import Clock, Queue
from worker.store.attention import Attention
from worker.store.manifests import Place
from worker.store.runs import Runs

log = logger(__name__)

#: So often is a person told of the same.
AGAIN = timedelta(days=30)


@dataclass(frozen=True)
class Complaints:
    """Tells people, once in a long while of each thing that stays so until somebody changes something."""

    runs: Runs
    attention: Attention
    queue: Queue
    clock: Clock

    def hear(self, bucket: str, fault: StoreError, job_id: str | None = None) -> None:
        """A store refuses something. `job_id`: of a job that it is about, which wants a person then."""
        lasting, operation = fault.lasts, str(fault).partition(":")[0]  # a store may name the key in what follows
        if lasting and not self.runs.begin(f"tidy: {operation} in {bucket}", self.clock(), AGAIN):
            return
        log.warning("tidy.not_now", job=job_id, bucket=bucket, reason=str(fault))
        if lasting and job_id:
            told = self.attention.attend(job_id, "not_cleared", f"bucket {bucket}: {fault}", self.clock())
            messages.send(self.queue, map(messages.for_delivery, told))

    def lost(self, job: Job, faults: Mapping[Place, str], left_out: int = 0) -> None:
        """What fields link to that this version does not know could not be archived: by the place of each, why.

        `left_out`: so many links more are no files of one task.
        """
        said = {field(variant): fault for (kind, variant, _), fault in faults.items() if kind == OTHER}
        if left_out:
            said[f"beyond the first {MOST} links"] = f"{left_out} more were left out"
        log.warning("archive.field_unknown", job=job.id, fields=sorted(said), left_out=left_out)
        opening = "its result has what this version does not know, and it could not be archived"
        told = self.attention.attend_each(job.id, "field_unknown", opening, said, self.clock(), AGAIN)
        messages.send(self.queue, map(messages.for_delivery, told))
