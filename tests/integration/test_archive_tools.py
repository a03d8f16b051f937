"""`reelhook verify`, and the sweep of abandoned uploads, on a real bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import Engine, update
from ulid import ULID

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.fakes import MORNING
from tests.integration.archive_kit import Yard, copying_job, film, video, yard
from tests.integration.stores_kit import other_store
from tests.origin import File, origin
from tests.s3_gate import Gate
from webhook import terminal
from webhook.cli import main
from webhook.verify import verify_files, verify_manifest
from worker.jobs.machine import Event
from worker.jobs.model import State
from worker.jobs.retry import DEATHS
from worker.jobs.transfer import Transfer
from worker.ports import Clock
from worker.store.attention import Attention
from worker.store.runs import Runs
from worker.store.tables import jobs
from worker.store.transfers import Transfers
from worker.tasks.record import catch_up
from worker.tasks.tidy import Complaints, tidy

FILM = film()


@pytest.fixture
def made(settings: Settings, engine: Engine) -> Iterator[Yard]:
    """A job of one film, archived."""
    with origin(film=File.of(FILM)) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as yarded:
        yarded.work()
        yield yarded


def test_verify_tells_whole_files_from_others(made: Yard) -> None:
    """A proven file holds; changed, cut or gone it does not, and each is said differently."""
    file = made.files[0]
    label = {"content_type": "video/mp4", "filename": "x.mp4", "metadata": {}}

    def fault() -> str | None:
        (verdict,) = verify_files([(made.job_id, file)], made.bucket)
        return verdict.fault

    assert fault() is None
    made.bucket.put(file.key, FILM[:-1] + b"x", **label)  # type: ignore[arg-type]  # ** of mixed values
    assert "holds other bytes than were proven" == fault()
    made.bucket.put(file.key, FILM[:-1], **label)  # type: ignore[arg-type]  # as above
    assert f"has {len(FILM) - 1} bytes instead of {len(FILM)}" == fault()
    made.bucket.delete(file.key)
    assert "is not there" == fault()


def test_verify_looks_at_pictures_too(made: Yard) -> None:
    """A poster or a sheet that is gone, is another picture under the old label, or none under a new one, is a fault of
    its film.
    """
    (file,) = made.files
    assert file.poster_key is not None
    assert file.sheet_key is not None
    stored = made.bucket.head(file.sheet_key)
    assert stored is not None
    made.bucket.put(file.sheet_key, b"x", content_type="image/jpeg", filename="x.jpg", metadata=stored.metadata)
    (verdict,) = verify_files([(made.job_id, file)], made.bucket)
    assert "its contact sheet holds other bytes than were made" == verdict.fault
    made.bucket.put(file.sheet_key, b"x", content_type="image/jpeg", filename="x.jpg", metadata={})
    (verdict,) = verify_files([(made.job_id, file)], made.bucket)
    assert (verdict.fault or "").startswith("its contact sheet does not begin as a picture")

    made.bucket.delete(file.poster_key)
    (verdict,) = verify_files([(made.job_id, file)], made.bucket)
    assert "its poster is not there" == verdict.fault


def test_the_command_says_what_does_not_hold(made: Yard, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It exits 0 while all holds; 1, with key and reason, once one does not, or where there is no such job."""
    monkeypatch.setattr(terminal, "load", lambda: settings)
    ask = CliRunner().invoke
    assert (0, "2 hold, 0 do not\n") == ((well := ask(main, ["verify"])).exit_code, well.stdout)
    key = made.files[0].key
    made.bucket.delete(key)

    told = ask(main, ["verify", "--since", "2026-11-21"])
    assert (1, f"{made.job_id} {key}: is not there\n1 hold, 1 do not\n") == (told.exit_code, told.stdout)
    assert (0, "0 hold, 0 do not\n") == (
        (none := ask(main, ["verify", "--since", "2027-01-01"])).exit_code,
        none.stdout,
    )
    assert 1 == ask(main, ["verify", "nobody"]).exit_code


def test_verify_reads_the_manifest_that_was_written(
    made: Yard, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the key and the hash in its row, also under another template; its metadata name task and model."""
    changed = settings.model_copy(update={"s3_key_template": "elsewhere/{job}/{name}.{extension}"})
    monkeypatch.setattr(terminal, "load", lambda: changed)
    job = made.store.get(made.job_id)
    assert job is not None
    assert job.manifest_key is not None
    stored = made.bucket.head(job.manifest_key)
    assert stored is not None
    assert {
        "reelhook-job": "01job",
        "reelhook-task": "t1",
        "reelhook-model": "kling-video-o1",
        "reelhook-family": "videos-omni-video",
        "reelhook-sha256": job.manifest_sha256,
    } == stored.metadata
    assert 0 == CliRunner().invoke(main, ["verify"]).exit_code

    said = []
    for change in (
        lambda: made.bucket.put(job.manifest_key or "", b"{}", content_type="a/b", filename="m", metadata={}),
        lambda: made.bucket.delete(job.manifest_key or ""),
    ):
        change()
        told = CliRunner().invoke(main, ["verify"])
        said.append((told.exit_code, told.stdout.splitlines()[0].removeprefix(f"01job {job.manifest_key}: ")))
    assert [(1, "holds other bytes than were written"), (1, "is not there")] == said


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


@pytest.fixture(scope="module")
def moto(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings on a store that knows lifecycle rules, which the embedded one does not."""
    with other_store("moto", settings, tmp_path_factory.mktemp("moto")) as other:
        yield other


@pytest.mark.parametrize(
    ("days", "code", "said"), [(30, 0, "1 hold, 0 do not, 1 expired by rule"), (400, 1, "1 hold, 1 do not")]
)
def test_what_a_rule_has_deleted_is_no_fault(
    moto: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, days: int, code: int, said: str
) -> None:
    """A file that is gone and as old as the bucket's own rule lets objects be is told apart; a younger one is
    missing. The rule is the one that `reelhook doctor --set-lifecycle --expire-days` sets.
    """
    monkeypatch.setattr(terminal, "load", lambda: moto)
    with (
        origin(film=File.of(FILM)) as served,
        yard(moto, engine, [video(served.link("film.mp4"))]) as made,
    ):
        assert State.ARCHIVED is made.work()
    told = CliRunner().invoke(main, ["doctor", "--set-lifecycle", "--expire-days", str(days)])
    assert 0 == told.exit_code, told.output
    assert {days} == {rule["Expiration"]["Days"] for rule in made.bucket.lifecycle() if "Expiration" in rule}
    with engine.begin() as connection:
        connection.execute(update(jobs).values(updated_at=datetime.now(UTC) - timedelta(days=31)))
    made.bucket.delete(made.files[0].key)
    told = CliRunner().invoke(main, ["verify"])

    assert (code, said) == (told.exit_code, told.stdout.splitlines()[-1])


def words_of(made: Yard) -> tuple[str, list[int], list[tuple[int, str]]]:
    """What the manifest says: the job's end, its files, and which are missing and why. It holds."""
    job = made.store.get(made.job_id)
    assert job is not None
    assert [made.job_id] == made.store.archived()
    assert [None] == [one.fault for one in verify_manifest(job, made.bucket)]
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
