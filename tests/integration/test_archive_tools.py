"""`reelhook verify`, and the sweep of abandoned uploads, on a real bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, update
from ulid import ULID

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.fakes import MORNING
from tests.integration.archive_kit import Yard, copying_job, film, video, yard
from tests.origin import File, origin
from tests.s3_gate import Gate
from webhook.verdicts import Judge
from worker.jobs.machine import Event
from worker.jobs.model import State
from worker.jobs.retry import DEATHS
from worker.jobs.transfer import Transfer
from worker.ports import Clock
from worker.store.attention import Attention
from worker.store.runs import Runs
from worker.store.tables import jobs
from worker.store.transfers import Transfers
from worker.tasks.complaints import Complaints
from worker.tasks.record import catch_up
from worker.tasks.tidy import tidy

FILM = film()


@pytest.fixture
def made(settings: Settings, engine: Engine) -> Iterator[Yard]:
    """A job of one film, archived."""
    with origin(film=File.of(FILM)) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as yarded:
        yarded.work()
        yield yarded


def tidied(
    made: Yard, engine: Engine, *, clock: Clock | None = None, places: list[tuple[str, str]] | None = None
) -> None:
    """What is done each hour."""
    complaints = Complaints(Runs(engine), Attention(engine), made.queue, clock or made.clock)
    tidy(
        transfers=made.store.transfers,
        copier=made.copier,
        complaints=complaints,
        clock=clock or made.clock,
        places=places or [],
    )


def left_over(made: Yard, number: int) -> str:
    """A job that ended while a file of it was under way; its id."""
    made.job_id = f"01given-up-{number}"
    copying_job(made)
    job = made.store.lease(made.job_id, "worker", MORNING, timedelta(days=9))
    assert job is not None
    at = Transfer("video", "original", 1, made.bucket.bucket, f"kling/{made.job_id}/video-1.mp4")
    at = replace(at, upload_id=made.bucket.begin(at.key, content_type="a/b", filename="f", metadata={}))
    assert made.store.transfers.save(job.id, "worker", at, made.clock(), timedelta(days=9))
    assert made.store.move(job, Event.FILES_UNPROVABLE, made.clock())
    made.clock.advance(1)
    return made.job_id


def test_who_may_not_delete_is_told_once(
    made: Yard, settings: Settings, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """P7: not each hour, and of one job for all; the uploads are ended all the same, and nothing keeps its turn."""
    names = [left_over(made, number) for number in range(3)]
    with (
        Gate(settings.s3_endpoint_url or "") as gate,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("worker.store.transfers._LEFT_OVER", 1)
        for operation in ("delete", "list uploads"):
            gate.refuse(operation, 403, "AccessDenied")
        worker = made.restarted(bucket=ObjectStore(settings.model_copy(update={"s3_endpoint_url": gate.url})))
        for _ in range(4):
            tidied(worker, engine, places=[("", "kling/")])
            made.clock.advance(3600)
    warned = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert [True, True] == ["tidy.not_now" in line for line in warned if "job.begun" not in line]
    said = [one["data"]["reason"] for name in names for one in made.store.timeline(name) if "reason" in one["data"]]
    assert ["not_cleared"] == [one for one in said if one]
    assert [] == made.bucket.pending()
    for _ in names:
        tidied(made, engine)
    assert [] == made.store.transfers.left_over()


def words_of(made: Yard) -> tuple[str, list[int], list[tuple[int, str]]]:
    """What the manifest says: the job's end, its files, and which are missing and why. It holds."""
    job = made.store.get(made.job_id)
    assert job is not None
    assert [made.job_id] == made.store.archived()
    assert [None] == [one.why for one in Judge(made.bucket).of_manifest(job)]
    told = json.loads(b"".join(made.bucket.chunks(job.manifest_key or "")))
    assert (None, job.error_message) == (told["job"]["archived_at"], told["job"]["failure"])
    there, missing = told["files"], told["missing"]
    assert {"archived"} == {one["state"] for one in there}
    assert {"not_archived"} == {one["state"] for one in missing}
    return (
        told["job"]["state"],
        [one["ordinal"] for one in there],
        [(one["ordinal"], one["reason"]) for one in missing],
    )


def answer(*urls: str) -> bytes:
    """What Kling says of a task that made these videos."""
    return _said([{"id": str(number), "url": url, "duration": "1"} for number, url in enumerate(urls)])


def _said(videos: list[dict[str, str]]) -> bytes:
    task = {"task_id": "1", "task_status": "succeed", "task_result": {"videos": videos}}
    return json.dumps({"code": 0, "message": "", "data": task}).encode()


BAD = "does not begin as an MP4 or MOV file"


@pytest.mark.parametrize("bad", [0, 1])
def test_a_job_that_fails_leaves_word_of_its_good_files(settings: Settings, engine: Engine, bad: int) -> None:
    """One of two files can't be proven, be it the first: the other one is stored, and the manifest names both."""
    good = 1 - bad
    with (
        origin(film=File.of(FILM), bad=File.of(b"no film" * 100)) as served,
        yard(settings, engine, []) as made,
    ):
        links = [served.link("film.mp4"), served.link("bad.mp4")][:: 1 if bad else -1]
        made.provider.outputs = [video(link, number) for number, link in enumerate(links)]
        made.provider.answer = answer(*links)
        assert State.FAILED is made.until_end()

        assert ("failed", [good], [(bad, f"video {bad}: {BAD}")]) == words_of(made)


def test_what_is_missing_is_named_in_whatever_order_it_was_named_last(settings: Settings, engine: Engine) -> None:
    """The provider names the good file first, then last: it is not missing, and the bad one is."""
    with (
        origin(film=File.of(FILM), bad=File.of(b"no film" * 100)) as served,
        yard(settings, engine, []) as made,
    ):
        good, bad = served.link("film.mp4"), served.link("bad.mp4")
        made.provider.outputs = [video(good, 0, id="0"), video(bad, 1, id="1")]
        assert State.COPYING is made.work()
        made.provider.outputs = [video(bad, 0, id="1"), video(good, 1, id="0")]
        videos = [{"id": "1", "url": bad, "duration": "1"}, {"id": "0", "url": good, "duration": "1"}]
        made.provider.answer = _said(videos)
        made.clock.advance(100_000)
        assert State.FAILED is made.until_end()

        job = made.store.get(made.job_id)
        told = json.loads(b"".join(made.bucket.chunks((job and job.manifest_key) or "")))
        assert [(1, "1")] == [(one["ordinal"], one["provider_id"]) for one in told["missing"]]
        assert ("failed", [0], [(1, f"video 1: {BAD}")]) == words_of(made)


def test_a_job_that_is_set_aside_leaves_word_of_its_good_files(settings: Settings, engine: Engine) -> None:
    """Its work ends its process: once it is given up the manifest names what it had."""
    with (
        origin(film=File.of(FILM), bad=File.of(b"no film" * 100)) as served,
        yard(settings, engine, [video(served.link("film.mp4")), video(served.link("bad.mp4"), 1)]) as made,
    ):
        made.provider.answer = answer(served.link("film.mp4"), served.link("bad.mp4"))
        made.work()
        with engine.begin() as connection:
            connection.execute(update(jobs).values(begun=DEATHS + 1))
        made.clock.advance(100_000)
        assert State.FAILED is made.work()

        state, there, missing = words_of(made)
    assert ("failed", [0], [1]) == (state, there, [ordinal for ordinal, _ in missing])
    assert missing[0][1].startswith("work on it ended its process")


def test_a_manifest_that_could_not_be_written_is_written_later(settings: Settings, engine: Engine) -> None:
    """The bucket takes nothing when Kling has deleted the result: the hourly run finds the job."""
    with (
        origin(film=File.of(FILM), bad=File.of(b"no film" * 100)) as served,
        yard(settings, engine, [video(served.link("film.mp4")), video(served.link("bad.mp4"), 1)]) as made,
        Gate(settings.s3_endpoint_url or "") as gate,
    ):
        made.provider.answer = answer(served.link("film.mp4"), served.link("bad.mp4"))
        made.work()
        gate.refuse("put", 403, "AccessDenied")
        worker = made.restarted(bucket=ObjectStore(settings.model_copy(update={"s3_endpoint_url": gate.url})))
        made.clock.advance(31 * 86400)
        assert State.FAILED is worker.work()
        assert [] == made.store.archived()
        for copier in (worker.copier, made.copier, worker.copier):
            catch_up(store=made.store, copier=copier, clock=made.clock)

        state, there, missing = words_of(made)
    assert ("failed", [0], [1]) == (state, there, [ordinal for ordinal, _ in missing])


def test_one_manifest_that_can_not_be_written_keeps_no_other_one(settings: Settings, engine: Engine) -> None:
    """A bucket that is away is asked once in a run, a row that can't be read is passed by, and time has an end."""
    names = ["01job", "01more"]
    with (
        origin(film=File.of(FILM), bad=File.of(b"no film" * 100)) as served,
        yard(settings, engine, [video(served.link("film.mp4")), video(served.link("bad.mp4"), 1)]) as made,
        Gate(settings.s3_endpoint_url or "") as gate,
    ):
        made.provider.answer = answer(served.link("film.mp4"), served.link("bad.mp4"))
        made.job_id = "01more"
        copying_job(made)
        for made.job_id in names:
            made.work()
        gate.refuse("put", 403, "AccessDenied")
        worker = made.restarted(bucket=ObjectStore(settings.model_copy(update={"s3_endpoint_url": gate.url})))
        made.clock.advance(31 * 86400)
        for worker.job_id in names:
            made.clock.advance(1)
            assert State.FAILED is worker.work()
        heard = gate.heard.count("put")
        catch_up(store=made.store, copier=worker.copier, clock=made.clock)
        assert heard + 1 == gate.heard.count("put")
        made.store.set_answer("01more", b"{")  # the newer one, so the first
        catch_up(store=made.store, copier=made.copier, clock=made.clock, until=0)
        assert names[::-1] == [job.id for job in made.store.manifests.missing(made.clock() - timedelta(days=1))]
        catch_up(store=made.store, copier=made.copier, clock=made.clock)

    assert ["01more"] == [job.id for job in made.store.manifests.missing(made.clock() - timedelta(days=1))]


def test_verify_finds_the_jobs_of_a_time(made: Yard) -> None:
    """All archived jobs, or those since a day."""
    day = made.clock()

    assert [made.job_id] == made.store.archived() == made.store.archived(day)
    assert [] == made.store.archived(day + timedelta(days=1))


def test_old_uploads_that_no_row_knows_are_ended(made: Yard, engine: Engine) -> None:
    """A day later an upload whose worker died is ended; a young one, one that a row knows, others' are left alone."""
    label = {"content_type": "video/mp4", "filename": "x.mp4", "metadata": {}}
    assert [] == made.bucket.pending()
    made.job_id = str(ULID()).lower()
    copying_job(made)
    lost, kept = (f"kling/2026/11/20/{made.job_id}/video-{n}.mp4" for n in range(2))
    another = f"kling/2026/11/20/{str(ULID()).lower()}/video-0.mp4"  # a job's of another deployment
    theirs = ["kling/2026/11/20/holiday/video-0.mp4", "others/theirs.mp4", another]
    for key in (lost, *theirs):
        made.bucket.begin(key, **label)  # type: ignore[arg-type]  # ** of mixed values
    known = made.bucket.begin(kept, **label)  # type: ignore[arg-type]  # as above
    made.store.lease(made.job_id, "worker", MORNING, timedelta(days=9))
    under_way = Transfer("video", "original", 1, made.bucket.bucket, kept, upload_id=known)
    assert made.store.transfers.save(made.job_id, "worker", under_way, MORNING, timedelta(days=9))
    left = []
    for hours in (0, 25):
        later = partial(datetime.now(UTC).__add__, timedelta(hours=hours))
        tidied(made, engine, clock=later, places=[("", "")])
        left.append({pending.key for pending in made.bucket.pending()})

    for pending in made.bucket.pending():
        made.bucket.abort(pending.key, pending.upload_id)
    assert [{kept, lost, *theirs}, {kept, *theirs}] == left


def test_what_a_job_that_has_ended_left_under_way_is_cleared(made: Yard, settings: Settings, engine: Engine) -> None:
    """Its row keeps no upload alive for ever: object, upload and row go as soon as the store lets them."""
    store, transfers = made.bucket, Transfers(engine)
    label = {"content_type": "video/mp4", "filename": "x.mp4", "metadata": {}}
    made.job_id = "01given-up"
    copying_job(made)
    job = made.store.lease(made.job_id, "worker", MORNING, timedelta(days=9))
    assert job is not None
    at = Transfer("video", "original", 1, store.bucket, f"kling/2026/11/20/{str(ULID()).lower()}/video-1.mp4")
    at = replace(at, upload_id=store.begin(at.key, **label))  # type: ignore[arg-type]  # ** of mixed values
    assert transfers.save(job.id, "worker", at, MORNING, timedelta(days=9))
    store.put(at.key, b"x", **label)  # type: ignore[arg-type]  # as above
    assert made.store.move(job, Event.FILES_UNPROVABLE, made.clock())
    assert at.upload_id not in transfers.known_uploads()

    stranger = ObjectStore(settings.model_copy(update={"s3_secret_access_key": SecretStr("wrong")}))
    for bucket in (stranger, store):
        assert [at] == [one for _, one in transfers.left_over()]
        tidied(made.restarted(bucket=bucket), engine)
    assert ([], None, []) == (transfers.left_over(), store.head(at.key), store.pending(at.key))
