"""`reelhook verify`, and the sweep of abandoned uploads, on a real bucket."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from infra.settings import Settings
from tests.fakes import MORNING
from tests.integration.archive_kit import Yard, copying_job, film, video, yard
from tests.origin import File, origin
from webhook.cli import main
from webhook.verify import verify_files
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
    for key in ("kling/lost.mp4", "others/theirs.mp4"):
        made.bucket.begin(key, **label)  # type: ignore[arg-type]  # ** of mixed values
    known = made.bucket.begin("kling/known.mp4", **label)  # type: ignore[arg-type]  # as above
    made.job_id = "01other"
    copying_job(made)
    made.store.lease("01other", "worker", MORNING, timedelta(days=9))
    under_way = Transfer("video", "original", 0, made.bucket.bucket, "kling/known.mp4", upload_id=known)
    assert made.store.transfers.save("01other", "worker", under_way, MORNING, timedelta(days=9))
    left = []
    for hours in (0, 25):
        later = partial(datetime.now(UTC).__add__, timedelta(hours=hours))
        tidy(transfers=Transfers(engine), bucket=made.bucket, clock=later, places=[("", "kling/")])
        left.append([pending.key for pending in made.bucket.pending()])

    for pending in made.bucket.pending():
        made.bucket.abort(pending.key, pending.upload_id)
    kept = ["kling/known.mp4", "others/theirs.mp4"]
    assert [[kept[0], "kling/lost.mp4", kept[1]], kept] == left
