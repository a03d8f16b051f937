"""A bucket that can't be reached, or takes nothing: waited for ever more rarely, told, gone on with at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from infra.object_store import ObjectStore
from infra.settings import Settings
from infra.stack.kept import free_port
from tests.fakes import MORNING, FakeQueue
from tests.integration.archive_kit import Yard, copying_job, film, proven, video, yard
from tests.origin import File, origin
from tests.s3_gate import Gate
from webhook.app import create_app
from webhook.doctor import doctor
from webhook.wiring import door
from worker.jobs.model import State
from worker.store.attention import Attention
from worker.store.retention import Retention
from worker.store.runs import Runs
from worker.tasks.attend import attend
from worker.tasks.expire import expire
from worker.tasks.reach import reach

FILM = File.of(film())


@pytest.fixture
def gate(settings: Settings) -> Iterator[Gate]:
    """Stands before the store."""
    with Gate(settings.s3_endpoint_url or "") as opened:
        yield opened


@pytest.fixture
def made(settings: Settings, engine: Engine) -> Iterator[Yard]:
    """A job whose film can be had."""
    with origin(film=FILM) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as yarded:
        yield yarded


def at(made: Yard, settings: Settings, url: str) -> Yard:
    """A worker that looks for the store there."""
    return made.restarted(bucket=ObjectStore(settings.model_copy(update={"s3_endpoint_url": url})))


def due(made: Yard, name: str) -> datetime:
    """When a job wants attention next."""
    job = made.store.get(name)
    assert job is not None
    assert job.due_at is not None
    return job.due_at


def look(engine: Engine, worker: Yard) -> None:
    """What beat has done every minute and every hour."""
    attention, queue = Attention(engine), FakeQueue()
    attend(attention=attention, queue=queue, clock=worker.clock, accounts=["default"])
    reach(buckets=worker.store.buckets, copier=worker.copier, clock=worker.clock)
    rows: Any = {"runs": Runs(engine), "retention": Retention(engine), "attention": attention}
    expire(**rows, queue=queue, days=30, clock=worker.clock)


def reasons(made: Yard) -> list[str]:
    """Why a person was called."""
    return [one["data"]["reason"] for one in made.store.timeline(made.job_id) if one["type"] == "job.attention"]


def test_jobs_wait_for_their_bucket_together(settings: Settings, engine: Engine, made: Yard, gate: Gate) -> None:
    """P1, P2: no permission: one job tries for all, ever more rarely; told once, at once; mended, all go on at once."""
    worker = at(made, settings, gate.url)
    gate.refuse("put", 403, "AccessDenied")
    gate.refuse("begin", 403, "AccessDenied")
    names = ["01job", "01more"]
    made.job_id = worker.job_id = "01more"
    copying_job(made)
    pauses = []
    for turn in range(16):
        if turn == 8:
            made.clock.advance(7200)
        name = min(names, key=lambda one: due(made, one))
        made.clock.at = max(made.clock.at, due(made, name))
        worker.job_id, tried = name, gate.heard.count("put")
        assert State.COPYING is worker.work()
        if gate.heard.count("put") > tried:
            pauses.append((due(made, name) - made.clock()).total_seconds())
        look(engine, worker)
    assert len(pauses) < 16  # in the other turns a job left it to the other one
    assert all(one < 600 * 1.21 for one in pauses)
    assert pauses[0] < 3
    assert 480 < pauses[-1]
    assert ["bucket_away"] == reasons(made) + reasons(worker)
    (away,) = made.store.buckets.away()
    assert ("", MORNING, "S3 put: AccessDenied no") == (away.name, away.since, away.reason)

    gate.refusals.clear()
    made.clock.advance(61)
    look(engine, worker)
    worker.job_id = min(names, key=lambda one: due(made, one))
    assert due(made, worker.job_id) == made.clock()
    assert State.ARCHIVED is worker.work()
    (worker.job_id,) = {*names} - {worker.job_id}
    assert due(made, worker.job_id) == made.clock()
    assert State.ARCHIVED is worker.work()
    assert [] == made.store.buckets.away()
    for made.job_id in names:
        proven(made, FILM)


def test_a_bucket_that_is_never_reached_again(settings: Settings, engine: Engine, made: Yard) -> None:
    """P1: told when waiting has not helped for ten minutes, again at 27 days, and over when Kling has deleted it."""
    worker = at(made, settings, f"http://127.0.0.1:{free_port()}")
    worker.work()
    made.clock.advance(500)
    look(engine, worker)
    assert [] == reasons(made)
    made.clock.advance(101)
    look(engine, worker)
    look(engine, worker)
    assert ["bucket_away"] == reasons(made)
    made.clock.at = MORNING + timedelta(days=27, hours=1)
    look(engine, worker)
    assert ["bucket_away", "result_at_risk"] == reasons(made)
    assert State.COPYING is worker.work()
    made.clock.at = MORNING + timedelta(days=30)

    assert State.EXPIRED is worker.work()
    job = made.store.get(made.job_id)
    assert job is not None
    assert ("bucket_away", True) == (job.error_code, (job.error_message or "").startswith("S3 "))


def test_what_one_file_meets_is_no_trouble_of_the_bucket(
    settings: Settings, engine: Engine, made: Yard, gate: Gate
) -> None:
    """A store that takes one thing ill is not said to be away, and a job that never failed asks nothing about it."""
    worker = at(made, settings, gate.url)
    gate.refuse("put", 400, "BadDigest", times=1)
    assert State.COPYING is worker.work()
    assert [] == made.store.buckets.away()
    assert due(made, made.job_id) <= made.clock() + timedelta(seconds=20)
    made.clock.advance(20)

    assert State.ARCHIVED is worker.work()


def test_who_asks_hears_of_it_and_the_doctor_ends_it(
    settings: Settings, engine: Engine, made: Yard, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/readyz says the code to anybody, not a text that names accounts; once the doctor wrote, who waits is due."""
    worker = at(made, settings, gate.url)
    gate.refuse(
        "put",
        403,
        "AccessDenied",
        message="arn:aws:iam::123456789012:user/kling may not do that to s3://secret",
        times=1,
    )
    worker.work()
    app = create_app(settings)
    web = app.test_client()
    (note,) = web.get("/readyz").get_json()["notes"]
    assert f"the bucket takes no files since {MORNING.isoformat(timespec='seconds')}: AccessDenied" == note
    monkeypatch.setattr("webhook.doctor.load", lambda: settings)
    said = CliRunner().invoke(doctor).output

    assert f"jobs that waited for {settings.s3_bucket} and go on now: 1" in said
    assert {"status": "ready", "notes": []} == web.get("/readyz").get_json()
    with app.app_context():
        door().engine.dispose()
