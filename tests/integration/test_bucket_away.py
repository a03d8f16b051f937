"""A bucket that can't be reached, or takes nothing: waited for ever more rarely, told, gone on with at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from infra.db import make_engine
from infra.object_store import ObjectStore
from infra.settings import Settings
from infra.store_errors import StoreError
from tests.fakes import MORNING, FakeQueue
from tests.integration.archive_kit import Yard, copying_job, film, proven, video, yard
from tests.origin import File, film_of, origin
from tests.s3_gate import Gate
from webhook.app import create_app
from webhook.doctor import doctor
from webhook.wiring import door
from worker import source
from worker.jobs.model import State
from worker.store.attention import Attention
from worker.store.buckets import AWAY
from worker.store.repository import Repository
from worker.store.retention import Retention
from worker.store.runs import Runs
from worker.tasks.attend import attend
from worker.tasks.expire import expire
from worker.tasks.reach import reach

FILM = File.of(film())


@pytest.fixture
def made(settings: Settings, engine: Engine) -> Iterator[Yard]:
    """A job whose film can be had."""
    with origin(film=FILM) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as yarded:
        yield yarded


def at(made: Yard, settings: Settings, url: str) -> Yard:
    """A worker that looks for the store there."""
    return made.restarted(bucket=ObjectStore(settings.model_copy(update={"s3_endpoint_url": url})))


@contextmanager
def long_film(made: Yard, settings: Settings, gate: Gate) -> Iterator[tuple[Yard, File]]:
    """A worker that copies a film of many slices into a store behind `gate`, and the film."""
    file = film_of(film(), 17 * 2**20)
    with origin(film=file) as served, pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "SPOOLED_BYTES", 0)  # so that it goes in parts
        made.provider.outputs = [video(served.link("film.mp4"))]
        yield at(made, settings, gate.url).restarted(slice_seconds=0.0), file


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


def test_a_bucket_is_away_while_its_only_job_tries(settings: Settings, engine: Engine, made: Yard, gate: Gate) -> None:
    """The look that falls into a trial does not forget since when, by which a person is told."""
    worker = at(made, settings, gate.url)
    gate.refuse("put", 403, "AccessDenied")
    gate.refuse("begin", 403, "AccessDenied")
    worker.work()
    made.clock.advance(601)
    assert made.store.lease(made.job_id, "trying", made.clock(), timedelta(seconds=20))

    look(engine, worker)
    assert [MORNING] == [one.since for one in made.store.buckets.away()]
    assert ["bucket_away"] == reasons(made)


def test_who_waited_ends_whether_or_not_others_can_be_told(
    settings: Settings, engine: Engine, made: Yard, gate: Gate
) -> None:
    """P1: another one's row is held: what was copied is archived. Of those that come later none writes others' rows."""
    worker = at(made, settings, gate.url)
    gate.refuse("put", 403, "AccessDenied")
    worker.work()
    made.job_id = "01more"
    copying_job(made)
    worker.restarted().store.buckets.failed("", StoreError("S3 put: no"), made.clock())
    made.store.lease("01more", "one", made.clock(), timedelta(seconds=20))
    made.store.put_off("01more", "one", made.clock() + timedelta(hours=1), error_code=AWAY)
    made.clock.advance(120)
    gate.refusals.clear()
    hasty = make_engine(settings, application="hasty", lock_seconds=0.3)
    with engine.begin() as holder:
        holder.execute(text("select 1 from jobs where id = '01more' for update"))
        assert State.ARCHIVED is replace(worker, store=Repository(hasty)).work()
    hasty.dispose()
    assert 1 == len(made.store.buckets.away())

    assert [1, 0] == [made.store.buckets.answers("", made.clock()) for _ in range(2)]
    assert made.clock() == due(made, "01more")


def test_a_bucket_that_took_a_part_is_waited_for_by_nobody(
    settings: Settings, engine: Engine, made: Yard, gate: Gate
) -> None:
    """A long film goes on from slice to slice at once, and so do the others, long before it is whole."""
    with long_film(made, settings, gate) as (worker, file):
        gate.refuse("begin", 403, "AccessDenied")
        gate.refuse("put", 403, "AccessDenied")
        worker.work()
        assert 1 == len(made.store.buckets.away())
        gate.refusals.clear()
        made.clock.advance(3)
        worker.work()
        assert [] == made.store.buckets.away()
        assert made.clock() == due(made, made.job_id)
        while State.COPYING is worker.work():
            assert made.clock() == due(made, made.job_id)
        proven(made, file)


def test_a_file_that_is_refused_as_damaged_is_told_and_ends(
    settings: Settings, engine: Engine, made: Yard, gate: Gate
) -> None:
    """P1: tried on ever more rarely, told after an hour, over when Kling has deleted it."""
    worker = at(made, settings, gate.url)
    gate.refuse("put", 400, "BadDigest")
    worker.work()
    made.clock.advance(3500)
    worker.work()
    look(engine, worker)
    assert [] == reasons(made)
    assert made.clock() + timedelta(seconds=400) < due(made, made.job_id)
    made.clock.advance(600)
    worker.work()
    look(engine, worker)
    assert ["not_copied"] == reasons(made)
    made.clock.at = MORNING + timedelta(days=30)

    assert State.EXPIRED is worker.work()


def test_a_bucket_that_is_never_reached_again(settings: Settings, engine: Engine, made: Yard, nobody: str) -> None:
    """P1: told when waiting has not helped for ten minutes, again at 27 days, and over when Kling has deleted it."""
    worker = at(made, settings, nobody)
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


def test_a_removal_that_fails_for_now_is_no_trouble_of_the_bucket(
    settings: Settings, engine: Engine, made: Yard, gate: Gate
) -> None:
    """It is asked once, beside a film that is there: nobody else waits for that, and it is soon done."""
    with long_film(made, settings, gate) as (worker, file):
        worker.work()
        gate.refuse("delete", 503, "SlowDown", times=1)
        while "delete" not in gate.heard:
            assert State.COPYING is worker.work()
        assert [] == made.store.buckets.away()
        assert due(made, made.job_id) <= made.clock() + timedelta(seconds=20)
        made.clock.advance(20)
        assert State.ARCHIVED is worker.work()
        proven(made, file)


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
    monkeypatch.setattr("webhook.terminal.load", lambda: settings)
    said = CliRunner().invoke(doctor).output

    assert f"jobs that waited for {settings.s3_bucket} and go on now: 1" in said
    assert {"status": "ready", "notes": []} == web.get("/readyz").get_json()
    with app.app_context():
        door().engine.dispose()
