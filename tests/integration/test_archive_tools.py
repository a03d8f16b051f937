"""`reelhook verify`, and the sweep of abandoned uploads, on a real bucket."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Engine

from infra.settings import Settings
from tests.integration.archive_kit import Yard, film, video, yard
from tests.origin import File, origin
from webhook.verify import verify_files
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


def test_verify_finds_the_jobs_of_a_time(made: Yard) -> None:
    """All archived jobs, or those since a day."""
    day = made.clock()

    assert [made.job_id] == made.store.archived() == made.store.archived(day)
    assert [] == made.store.archived(day + timedelta(days=1))


def test_old_uploads_that_no_row_knows_are_ended(made: Yard, engine: Engine) -> None:
    """A day later an upload whose worker died is ended; a young one, and one of others' keys, are left alone."""
    label = {"content_type": "video/mp4", "filename": "x.mp4", "metadata": {}}
    assert [] == made.bucket.pending()
    for key in ("kling/lost.mp4", "others/theirs.mp4"):
        made.bucket.begin(key, **label)  # type: ignore[arg-type]  # ** of mixed values
    left = []
    for hours in (0, 25):
        later = partial(datetime.now(UTC).__add__, timedelta(hours=hours))
        tidy(transfers=Transfers(engine), bucket=made.bucket, clock=later, prefixes=["kling/"])
        left.append([pending.key for pending in made.bucket.pending()])

    for pending in made.bucket.pending():
        made.bucket.abort(pending.key, pending.upload_id)
    assert [["kling/lost.mp4", "others/theirs.mp4"], ["others/theirs.mp4"]] == left
