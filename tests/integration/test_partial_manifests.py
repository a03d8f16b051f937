"""The manifest of a job that ended without all of its files: which there are, which are missing, and why."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import Engine, update

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.integration.archive_kit import Yard, copying_job, film, video, yard
from tests.origin import File, origin
from tests.s3_gate import Gate
from webhook.verdicts import Judge
from worker.jobs.model import State
from worker.jobs.retry import DEATHS
from worker.store.tables import jobs
from worker.tasks.record import catch_up

FILM = film()


def words_of(made: Yard) -> tuple[str, list[int], list[tuple[int, str]]]:
    """What the manifest says: the job's end, its files, and which are missing and why. It holds."""
    job = made.store.get(made.job_id)
    assert job is not None
    assert [made.job_id] == made.store.archived()
    assert Judge(made.bucket).of_manifest(job).why is None
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
        origin(film=File.of(FILM), bad=File.of(b"\0no film" * 100)) as served,
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
        origin(film=File.of(FILM), bad=File.of(b"\0no film" * 100)) as served,
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
        origin(film=File.of(FILM), bad=File.of(b"\0no film" * 100)) as served,
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
        origin(film=File.of(FILM), bad=File.of(b"\0no film" * 100)) as served,
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
        origin(film=File.of(FILM), bad=File.of(b"\0no film" * 100)) as served,
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
