"""What is swept up each hour: uploads that nobody goes on with, and what a job that has ended left in the bucket."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine
from ulid import ULID

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.fakes import MORNING
from tests.integration.archive_kit import Yard, copying_job, film
from tests.s3_gate import Gate
from worker.jobs.machine import Event
from worker.jobs.transfer import Transfer
from worker.ports import Clock
from worker.store.attention import Attention
from worker.store.runs import Runs
from worker.store.transfers import Transfers
from worker.tasks.complaints import Complaints
from worker.tasks.tidy import tidy

FILM = film()


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
