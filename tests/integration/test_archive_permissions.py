"""The archive with a store's key that may do little: what it may not do hides nothing and holds nothing up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.integration.archive_kit import PART, Yard, copying_job, film, proven, video, yard
from tests.origin import File, film_of, origin
from tests.s3_gate import Gate
from worker import source
from worker.jobs.model import State
from worker.store.attention import Attention

pytestmark = pytest.mark.usefixtures("small_parts")

FILM = film()


def behind(made: Yard, settings: Settings, gate: Gate) -> Yard:
    """The same job, worked on with what the gate lets pass; the judge goes to the store directly."""
    return made.restarted(bucket=ObjectStore(settings.model_copy(update={"s3_endpoint_url": gate.url})))


def half(size: int) -> File:
    """A film that ends in the middle, and says that it is whole."""
    whole = film_of(FILM, size)
    return replace(whole, size=size // 2)


@pytest.mark.parametrize(("operation", "size"), [("delete", len(FILM) + 2**20), ("list uploads", 3 * PART)])
def test_a_bad_file_is_found_bad_by_who_may_not_clear_it(
    settings: Settings, engine: Engine, gate: Gate, operation: str, size: int
) -> None:
    """P1, P7: the proof that failed is counted, and the good file behind a fresh link takes the bad one's place."""
    good = film_of(FILM, size)
    gate.refuse(operation, 403, "AccessDenied")
    with (
        origin(film=half(size), fresh=good) as served,
        yard(settings, engine, [video(served.link("film.mp4"))]) as made,
    ):
        worker = behind(made, settings, gate)
        worker.work()
        assert (State.COPYING, 1) == (made.state, made.attempts)
        made.clock.advance(100_000)
        made.provider.outputs = [video(served.link("fresh.mp4"))]

        assert State.ARCHIVED is worker.until_end()
        proven(made, good)


def test_who_may_clear_nothing_gives_up_all_the_same(settings: Settings, engine: Engine, gate: Gate) -> None:
    """P1: a link that is bad each time is asked for anew each time, and then the job says why it has failed."""
    for operation in ("delete", "list uploads", "abort"):
        gate.refuse(operation, 403, "AccessDenied")
    with origin(film=half(len(FILM))) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        assert State.FAILED is behind(made, settings, gate).until_end()
        job = made.store.get(made.job_id)
        assert job is not None

        assert ([], "video 0: ends inside a box: it was cut") == (made.files, job.error_message)


@pytest.mark.parametrize("size", [0, 3 * PART])
def test_who_may_not_list_hears_403_of_what_is_not_there(
    settings: Settings, engine: Engine, gate: Gate, size: int
) -> None:
    """AWS says so to a key without s3:ListBucket: after a failed fetch the good link is fetched all the same."""
    good = film_of(FILM, size) if size else File.of(FILM)
    broken = replace(good, claims=1000, asked=[])
    with origin(film=broken, fresh=good) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        worker = behind(made, settings, gate)
        gate.refuse("head", 403, "Forbidden", when=lambda _: not made.bucket.keys("kling/"))
        worker.work()
        made.clock.advance(100_000)
        made.provider.outputs = [video(served.link("fresh.mp4"))]

        assert State.ARCHIVED is worker.until_end()
        proven(made, good)


def test_an_upload_that_is_gone_is_begun_anew_by_who_may_not_list(
    settings: Settings, engine: Engine, gate: Gate
) -> None:
    """Whether it was completed or ended, only a HEAD can say: 403 to that counts as not there."""
    file = film_of(FILM, 3 * PART)
    with origin(film=file) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        worker = behind(made, settings, gate)
        gate.refuse("head", 403, "Forbidden", when=lambda _: not made.bucket.keys("kling/"))
        gate.refuse("complete", 404, "NoSuchUpload", times=1, when=lambda _: ended(made))
        worker.until_end()

        proven(made, file)


def ended(made: Yard) -> bool:
    """End what is under way, as a lifecycle rule does."""
    for pending in made.bucket.pending():
        made.bucket.abort(pending.key, pending.upload_id)
    return True


def test_a_file_that_is_refused_as_it_is_is_told_and_waited_for(settings: Settings, engine: Engine, gate: Gate) -> None:
    """P1: such as for its key: a person hears why at once; mended, it is archived; never mended, it ends."""
    file = File.of(FILM)
    with origin(film=file) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        worker, attention = behind(made, settings, gate), Attention(engine)
        gate.refuse("put", 400, "MetadataTooLarge")
        assert State.COPYING is worker.work()
        late = made.clock() + timedelta(days=9)
        said = "the store refuses its files: S3 put: MetadataTooLarge no"
        assert [(made.job_id, said)] == attention.not_copied(late, 9)
        assert [] == made.store.buckets.away()
        gate.refusals.clear()
        made.clock.advance(100_000)
        assert State.ARCHIVED is worker.work()
        job = made.store.get(made.job_id)
        assert job is not None
        assert (None, None, []) == (job.error_code, job.error_message, attention.not_copied(late, 9))

        gate.refuse("put", 400, "KeyTooLongError")
        made.job_id = worker.job_id = "01never"
        copying_job(made)
        made.clock.advance(29 * 86400 - 100_000)
        assert State.COPYING is worker.work()
        made.clock.advance(86400)
        assert State.EXPIRED is worker.work()


@pytest.mark.parametrize("in_parts", [False, True])
def test_what_may_not_be_cleared_is_written_over(
    settings: Settings, engine: Engine, gate: Gate, monkeypatch: pytest.MonkeyPatch, *, in_parts: bool
) -> None:
    """P1: a film that was stored and does not hold stays there, as this key may delete nothing; the good one behind the
    fresh link takes its place, and costs no attempt.
    """
    if in_parts:
        monkeypatch.setattr(source, "HELD_BYTES", 0)
    good, bad = File.of(FILM), File.of(FILM[:-3000] + bytes(3000))
    gate.refuse("delete", 403, "AccessDenied")
    with origin(film=bad, fresh=good) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        worker = behind(made, settings, gate)
        worker.work()
        assert (State.COPYING, 1) == (made.state, made.attempts)
        made.clock.advance(100_000)
        made.provider.outputs = [video(served.link("fresh.mp4"))]

        assert State.ARCHIVED is worker.until_end()
        assert 1 == made.attempts
        proven(made, good)
