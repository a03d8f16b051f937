"""Adoption: when a task turns up at the provider after its job has ended without it, a new job fetches the result.

That costs nothing: the task is made and paid for. A callback or a person says that there may be one; whether there is,
and whose it is, is asked of the provider.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ulid import ULID

from worker.jobs.model import Job, State
from worker.kling.wire import Task, TaskStatus
from worker.ports import Clock
from worker.provider import Provider
from worker.store.adoptions import Adopted
from worker.store.repository import Repository

_UNDER_WAY = (TaskStatus.SUBMITTED, TaskStatus.PROCESSING)


class NotAdopted(Exception):
    """There is nothing to fetch, or not for this job; the text says why."""


@dataclass(frozen=True)
class Adoption:
    """What adopting needs."""

    store: Repository
    provider: Provider
    clock: Clock

    def adopt(self, job: Job, task_id: str | None = None) -> Adopted:
        """The job that has the task of `job`: a new one, which runs and goes the ordinary way, or the one that was made
        before. `task_id`: the provider's, where it can't be found by the job's own.

        It holds a slot while the provider works on it, as it did all the time, and nobody was asked for that. Raises
        `NotAdopted`, and, where the provider does not know or does not answer, `KlingError` and `HttpError`.
        """
        if not job.is_stray:
            raise NotAdopted(f"it is {job.state}: only a job that ended without its task can have one to fetch")
        if other := self.store.adoptions.by(job.id):
            return Adopted(other, is_new=False)
        named = replace(job, provider_task_id=task_id) if task_id else job
        task, _ = self.provider.query(named, self.clock())
        if task_id and task.external_task_id not in {job.id, job.adopted_from or job.id}:
            whose = f"that of {task.external_task_id!r}" if task.external_task_id else "not said"
            raise NotAdopted(f"task {task_id} is not proven to be its own: whose it is, is {whose}")
        if reason := _useless(job, task):
            raise NotAdopted(reason)
        now, new_id = self.clock(), str(ULID()).lower()
        adopted = self.store.adoptions.adopt(job, task.task_id, new_id, since=_since(job, task, now), now=now)
        if adopted is None and (other := self.store.adoptions.by(job.id)):
            return Adopted(other, is_new=False)
        assert adopted, "ends are never left, and rows of jobs stay"
        return adopted


def _useless(job: Job, task: Task) -> str | None:
    """Why a new job for the task would come to nothing; None where it would not."""
    if job.state is State.EXPIRED and task.status is not TaskStatus.SUCCEEDED:
        return f"its task is there and has no result: {task.status_word}"
    if job.state is State.FAILED and task.status is TaskStatus.FAILED:
        return "its task is there, and has failed as well"
    return None


def _since(job: Job, task: Task, now: datetime) -> datetime:
    """When the provider took the task: it deletes results so many days after. `now` for one that is still under way."""
    if task.status in _UNDER_WAY:
        return now
    asked = job.submitted_at or job.created_at
    try:
        made = datetime.fromtimestamp((task.created_at_ms or 0) / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # a number that is no time
        return asked
    return min(max(made, asked), now)  # nobody makes it before it was asked for, whatever his clock says
