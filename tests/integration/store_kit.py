"""A job as rows, led wherever a test wants it."""

from __future__ import annotations

from datetime import timedelta

from tests.fakes import MORNING
from worker.jobs.machine import Event
from worker.jobs.model import Job
from worker.store.repository import NewJob, Repository

LEASE = timedelta(seconds=20)


def new(job_id: str = "a", **changes: str | None) -> NewJob:
    """A job as the door would hand it over."""
    values = {
        "caller": "default",
        "account": "default",
        "family": "videos/omni-video",
        "external_task_id": None,
        "callback_url": None,
    }
    return NewJob(id=job_id, fingerprint=b"f", request=b"{}", **{**values, **changes})  # type: ignore[arg-type]  # test data


def accepted(store: Repository, job_id: str = "a", **changes: str | None) -> Job:
    """A job that was just accepted."""
    return store.accept(new(job_id, **changes), MORNING)[0]


def led(store: Repository, job: Job, *path: Event) -> Job:
    """The job after everything in `path` happened."""
    for event in path:
        moved = store.move(job, event, MORNING)
        assert moved is not None
        job = moved.job
    return job


COPYING = (Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN, Event.TASK_SUCCEEDED)
