"""Jobs that ask for slots of the account `default`, without a provider."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.fakes import MORNING
from worker.jobs import slots
from worker.jobs.machine import Event
from worker.jobs.model import Job
from worker.store.accounts import Accounts
from worker.store.repository import NewJob, Repository
from worker.store.turns import NotAdmitted

#: When a job that waits asks by itself.
_LATE = timedelta(minutes=10)


def new(job_id: str, caller: str = "default", held: int = 1, family: str = "videos/omni-video") -> NewJob:
    """A job as the door would hand it over."""
    return NewJob(job_id, caller, "default", family, None, None, b"f", b"{}", slots=held)


def the(store: Repository, job_id: str) -> Job:
    """A job that is there."""
    job = store.get(job_id)
    assert job is not None
    return job


def begin(store: Repository, accounts: Accounts, job_id: str, most: int = 20, seconds: float = 0) -> bool:
    """Whether a job was admitted to its account's slots; else it waits, and those are due who may go before it."""
    job, now = the(store, job_id), MORNING + timedelta(seconds=seconds)
    try:
        gate = lambda connection: accounts.admit(connection, job, "default", most, now)  # noqa: E731 - one line
        return store.move(job, Event.SUBMIT_BEGUN, now, due_at=now + timedelta(hours=1), gate=gate) is not None
    except NotAdmitted:
        refused(store, accounts, job, most, now)
        return False


def refused(store: Repository, accounts: Accounts, job: Job, most: int, now: datetime) -> tuple[str, ...]:
    """A job waits for slots; who may have what came free meanwhile."""
    store.postpone(job, now + _LATE, queued=True)
    return accounts.wake(slots.pack("default", job.family), now, most)


def ended(store: Repository, job_id: str, seconds: float = 0) -> tuple[str, ...]:
    """The jobs that are woken when one ends."""
    moved = store.move(the(store, job_id), Event.SUBMIT_REFUSED, MORNING + timedelta(seconds=seconds))
    assert moved is not None
    return moved.woken
