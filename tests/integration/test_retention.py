"""What expires, and what stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select
from structlog.testing import capture_logs

from tests.fakes import MORNING, FakeClock
from worker.jobs.machine import Event
from worker.jobs.model import State
from worker.store import retention as module
from worker.store.attention import Attention
from worker.store.inbox import Arrival, Inbox
from worker.store.repository import NewJob, Repository
from worker.store.retention import Retention
from worker.store.tables import callbacks, deliveries, events, jobs, payloads
from worker.tasks.expire import expire

DAYS = 30


def new(job_id: str) -> NewJob:
    """A job as the door would hand it over."""
    return NewJob(job_id, "default", "default", "videos/omni-video", job_id, "https://app/hook", b"f", b"{}")


def led(store: Repository, job_id: str, *path: Event) -> None:
    """Make a job and let everything in `path` happen to it."""
    job = store.accept(new(job_id), MORNING)[0]
    for event in path:
        changes = {"submitted_at": MORNING} if event is Event.SUBMIT_TAKEN else {}
        moved = store.move(job, event, MORNING, changes=changes)
        assert moved is not None
        job = moved.job


RUN = (Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN)


def test_what_ended_long_ago_expires_in_batches_and_its_id_stays(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Payloads, callbacks, deliveries and timelines go; the id still stands for its request; open jobs keep all."""
    monkeypatch.setattr(module, "BATCH", 3)
    store, clock = Repository(engine), FakeClock(MORNING + timedelta(days=DAYS, seconds=1))
    for number in range(8):
        led(store, f"old{number}", *RUN, Event.TASK_FAILED)
    led(store, "open", *RUN)
    Inbox(engine).put([Arrival("old0", b"{}", "understood", None, MORNING)])
    expire(retention=Retention(engine), attention=Attention(engine), days=DAYS, clock=clock)

    with engine.connect() as connection:
        left = [
            set(connection.execute(select(table.c.job_id)).scalars())
            for table in (payloads, callbacks, deliveries, events)
        ]
        assert [{"open"}, set(), set(), {"open"}] == left
        assert 9 == connection.execute(select(func.count()).select_from(jobs)).scalar_one()
    assert not store.accept(new("old0"), clock())[2]


def test_what_is_young_stays(engine: Engine) -> None:
    """A day before its time nothing goes."""
    store, clock = Repository(engine), FakeClock(MORNING + timedelta(days=DAYS - 1))
    led(store, "young", *RUN, Event.TASK_FAILED)
    expire(retention=Retention(engine), attention=Attention(engine), days=DAYS, clock=clock)

    assert store.request("young") is not None


def test_results_that_will_soon_be_deleted_are_an_alarm(engine: Engine) -> None:
    """27 days after submission a job that is still being copied is named aloud, and due at once."""
    store, clock = Repository(engine), FakeClock(MORNING + timedelta(days=28))
    led(store, "risky", *RUN, Event.TASK_SUCCEEDED)
    job = store.get("risky")
    assert job is not None
    store.postpone(job, clock() + timedelta(days=1))
    with capture_logs() as logs:
        expire(retention=Retention(engine), attention=Attention(engine), days=DAYS, clock=clock)

    assert [["risky"]] == [line["jobs"] for line in logs if line["event"] == "retention.at_risk"]
    assert ["risky"] == [one.job_id for one in store.claim_due(clock(), lease=timedelta(seconds=1), limit=5)]
    assert State.COPYING is job.state
