"""Begin a step of a job, and stop beginning it when it kills its process every time.

A process that is killed by its work (out of memory, a crash in a decoder) can't report it: its row says that the step
was begun, and nothing after that. After `most` such beginnings in a row, with growing pauses, the job is ended and
shown by `reelhook set-aside`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from infra.db import is_away
from infra.log import logger
from worker import messages
from worker.jobs import retry
from worker.jobs.machine import Event, Step
from worker.jobs.model import Job, State
from worker.ports import Clock, Queue
from worker.store.aside import Aside
from worker.store.moves import Moved
from worker.store.repository import Repository

log = logger(__name__)

#: What a job's row says of it then.
SET_ASIDE = "set_aside"
_ENDS = MappingProxyType(
    {
        State.WAITING: Event.INPUTS_LOST,
        State.ACCEPTED: Event.SUBMIT_REFUSED,
        State.SUBMITTING: Event.SUBMIT_UNSETTLED,
        State.RUNNING: Event.TASK_LOST,
        State.COPYING: Event.FILES_UNPROVABLE,
    }
)


@dataclass(frozen=True)
class Begin:
    """Begins steps. `most`: how often in a row a step may be begun without a word of how it went."""

    store: Repository
    aside: Aside
    queue: Queue
    clock: Clock
    most: int = retry.DEATHS

    def __call__(self, job_id: str, step: Step) -> Job | None:
        """The job, if it wants `step` now; its row says that the step was begun."""
        job = self.store.begin(job_id, step, self.clock())
        if job is None or not self.may(job):
            return None
        return job

    def may(self, job: Job) -> bool:
        """Whether a job that was just begun may be worked on; one that has killed too often is set aside instead."""
        if job.begun > self.most:
            self.set_aside(job)
            return False
        if job.begun > 1:
            log.warning("job.begun_again", job=job.id, state=job.state, times=job.begun)
            self.store.postpone(job, self.clock() + _pause(job.begun), begun=job.begun, begun_at=self.clock())
        return True

    @contextmanager
    def spared(self, job_id: str) -> Iterator[None]:
        """Work in this block that fails because the database is away does not count as a process that died."""
        try:
            yield
        except DBAPIError as fault:
            if isinstance(fault, OperationalError) or is_away(fault):
                self._take_back(job_id, fault)
            raise
        except PoolTimeout as fault:
            self._take_back(job_id, fault)
            raise

    def _take_back(self, job_id: str, fault: Exception) -> None:
        log.warning("job.no_database", job=job_id, reason=type(fault).__name__)
        with suppress(SQLAlchemyError):  # then it counts, and the next one that can be written down does not
            self.store.unbegin(job_id)

    def set_aside(self, job: Job) -> Moved | None:
        """End a job whose work ends the processes that do it, and show it."""
        reason = f"work on it ended its process {self.most} times in a row while it was {job.state}; it is set aside"
        changes = {"error_code": SET_ASIDE, "error_message": reason}
        moved = self.store.move(job, _ENDS[job.state], self.clock(), changes=changes)
        if moved:
            log.error("job.set_aside", job=job.id, state=moved.job.state, reason=reason)
            self.store.transfers.forget(job.id)
            self.aside.put(f"job {job.id}", job.id.encode(), reason, self.clock())
            messages.send(self.queue, messages.after(job.id, moved.step, moved.deliveries, moved.woken))
        return moved


def _pause(begun: int) -> timedelta:
    """How long a job rests that has probably killed; twice as long each time, so that others are hardly touched."""
    return timedelta(seconds=min(retry.DEATH_PAUSE * 2 ** (begun - 1), retry.DEATH_LONGEST_PAUSE))
