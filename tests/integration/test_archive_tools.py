"""`reelhook verify`, and the sweep of abandoned uploads, on a real bucket."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import Engine
from ulid import ULID

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.fakes import MORNING
from tests.integration.archive_kit import Yard, copying_job, film, video, yard
from tests.origin import File, origin
from webhook.cli import main
from webhook.verify import verify_files
from worker.jobs.machine import Event
from worker.jobs.transfer import Transfer
from worker.store.transfers import Transfers
from worker.tasks.tidy import tidy

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
    """A poster or a sheet that is gone, or is another picture under the old label, is a fault of its film."""
    (file,) = made.files
    assert file.poster_key is not None
    assert file.sheet_key is not None
    stored = made.bucket.head(file.sheet_key)
    assert stored is not None
    made.bucket.put(file.sheet_key, b"x", content_type="image/jpeg", filename="x.jpg", metadata=stored.metadata)
    (verdict,) = verify_files([(made.job_id, file)], made.bucket)
    assert "its contact sheet holds other bytes than were made" == verdict.fault

    made.bucket.delete(file.poster_key)
    (verdict,) = verify_files([(made.job_id, file)], made.bucket)
    assert "its poster is not there" == verdict.fault


def test_the_command_says_what_does_not_hold(made: Yard, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It exits 0 while all holds; 1, with key and reason, once one does not, or where there is no such job."""
    monkeypatch.setattr(sys.modules["webhook.verify"], "load", lambda: settings)
    ask = CliRunner().invoke
    assert (0, "1 hold, 0 do not\n") == ((well := ask(main, ["verify"])).exit_code, well.stdout)
    key = made.files[0].key
    made.bucket.delete(key)

    told = ask(main, ["verify", "--since", "2026-11-21"])
    assert (1, f"{made.job_id} {key}: is not there\n0 hold, 1 do not\n") == (told.exit_code, told.stdout)
    assert (0, "0 hold, 0 do not\n") == (
        (none := ask(main, ["verify", "--since", "2027-01-01"])).exit_code,
        none.stdout,
    )
    assert 1 == ask(main, ["verify", "nobody"]).exit_code


def test_verify_finds_the_jobs_of_a_time(made: Yard) -> None:
    """All archived jobs, or those since a day."""
    day = made.clock()

    assert [made.job_id] == made.store.archived() == made.store.archived(day)
    assert [] == made.store.archived(day + timedelta(days=1))


def test_old_uploads_that_no_row_knows_are_ended(made: Yard, engine: Engine) -> None:
    """A day later an upload whose worker died is ended; a young one, one that a row knows, others' are left alone."""
    label = {"content_type": "video/mp4", "filename": "x.mp4", "metadata": {}}
    assert [] == made.bucket.pending()
    lost, kept = (f"kling/2026/11/20/{str(ULID()).lower()}/video-0.mp4" for _ in range(2))
    theirs = ["kling/2026/11/20/holiday/video-0.mp4", "others/theirs.mp4"]
    for key in (lost, *theirs):
        made.bucket.begin(key, **label)  # type: ignore[arg-type]  # ** of mixed values
    known = made.bucket.begin(kept, **label)  # type: ignore[arg-type]  # as above
    made.job_id = "01other"
    copying_job(made)
    made.store.lease("01other", "worker", MORNING, timedelta(days=9))
    under_way = Transfer("video", "original", 0, made.bucket.bucket, kept, upload_id=known)
    assert made.store.transfers.save("01other", "worker", under_way, MORNING, timedelta(days=9))
    left = []
    for hours in (0, 25):
        later = partial(datetime.now(UTC).__add__, timedelta(hours=hours))
        tidy(transfers=Transfers(engine), copier=made.copier, clock=later, places=[("", "")])
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
        tidy(transfers=transfers, copier=replace(made.copier, bucket=bucket), clock=made.clock, places=[])
    assert ([], None, []) == (transfers.left_over(), store.head(at.key), store.pending(at.key))
