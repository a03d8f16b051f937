"""Files of which no one worker saw all: they are read back from the bucket, and the bytes tell what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest
from sqlalchemy import Engine

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.integration.archive_kit import Yard, film, proven, video, yard
from tests.origin import film_of, origin
from tests.s3_gate import Gate
from worker import read_back
from worker.jobs.model import State

pytestmark = pytest.mark.usefixtures("small_parts")

FILM = film_of(film(), 12 * 2**20)


@pytest.fixture
def made(settings: Settings, engine: Engine) -> Iterator[Yard]:
    """A yard with a job of one film of three parts, and slices of one."""
    with (
        origin(film=FILM) as served,
        yard(settings, engine, [video(served.link("film.mp4"))], slice_seconds=0.0) as made,
    ):
        yield made


class Watched:
    """A bucket that counts who reads whole objects, and calls `before` as `name` is asked for."""

    def __init__(self, bucket: ObjectStore, name: str = "", before: Callable[[], object] = lambda: None) -> None:
        self._bucket = bucket
        self._name = name
        self._before = before
        self.read = 0  #: pieces of whole objects

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            self._before()
        return getattr(self._bucket, name)

    def chunks(self, key: str) -> Iterator[bytes]:
        """As the bucket does."""
        for chunk in self._bucket.chunks(key):
            self.read += 1
            yield chunk


def sent_by_others(made: Yard) -> None:
    """Have all parts but the last one sent, each by another worker."""
    for _ in range(2):
        assert State.COPYING is made.restarted().work()


def test_a_worker_that_has_to_end_reads_no_more(made: Yard) -> None:
    """P1: reading back ends with its worker, which is no death of the job's; another one does it, however long its
    slice is.
    """
    sent_by_others(made)
    seen = Watched(made.bucket)
    for _ in range(9):
        assert State.COPYING is made.restarted(bucket=seen, ending=lambda: True).work()
    job = made.store.get(made.job_id)

    assert (9, 0, 0) == (seen.read, made.attempts, job and job.begun)
    assert State.ARCHIVED is made.restarted().work()
    proven(made, FILM)


def test_what_had_to_be_begun_anew_is_read_back_by_another_worker_at_no_cost(
    made: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: its source has changed and all of it was sent again, to a store that calls it otherwise once it is there: a
    worker that has to end while it reads is no failed attempt.
    """

    class Renames(Watched):
        """The bucket."""

        def complete(self, *args: Any) -> str:
            """As rclone has it."""
            made.bucket.complete(*args)
            return '"other"'

    sent_by_others(made)
    monkeypatch.setattr(FILM, "etag", '"2"')
    monkeypatch.setattr(read_back, "monotonic", lambda: inf)  # its slice is over by then
    there = made.restarted(bucket=Renames(made.bucket), ending=lambda: True, slice_seconds=60.0)
    assert State.COPYING is there.work()

    assert (0, [made.clock()]) == (made.attempts, [job.due_at for job in [made.store.get(made.job_id)] if job])
    assert State.ARCHIVED is made.restarted().work()
    proven(made, FILM)


def test_nothing_is_read_back_twice(made: Yard) -> None:
    """What it came to stands in the row: who was killed while the film was looked at has not read it in vain."""

    def killed() -> None:
        raise KeyboardInterrupt

    sent_by_others(made)
    first, second = Watched(made.bucket, "open", killed), Watched(made.bucket)
    with pytest.raises(KeyboardInterrupt):
        made.restarted(bucket=first).work()
    made.clock.advance(100)
    made.restarted(bucket=second).work()

    assert (12, 0) == (first.read, second.read)
    proven(made, FILM)


@pytest.mark.parametrize("killed", [False, True])
def test_where_nobody_heard_that_a_film_was_made_its_bytes_tell(
    made: Yard, settings: Settings, *, killed: bool
) -> None:
    """P2: the answer to the completion is lost, or its worker is, and other bytes of the job's and of that length lie
    there: they are not taken for the film, though one worker had hashed all of it.
    """

    def replaced() -> None:
        (begun,) = made.store.transfers.of(made.job_id)
        label: dict[str, Any] = {
            "content_type": "video/mp4",
            "filename": "x",
            "metadata": {"reelhook-job": made.job_id},
        }
        made.bucket.put(begun.key, bytes(FILM.size), **label)
        if killed:
            raise KeyboardInterrupt

    with Gate(settings.s3_endpoint_url or "") as gate:
        gate.refuse("complete", 404, "NoSuchUpload", times=1, done_first=True)
        there = ObjectStore(settings.model_copy(update={"s3_endpoint_url": gate.url}))
        worker = made.restarted(bucket=Watched(there, "seen", replaced), slice_seconds=60.0)
        if killed:
            with pytest.raises(KeyboardInterrupt):
                worker.work()
        else:
            worker.work()
    made.clock.advance(100)
    made.until_end()

    proven(made, FILM)
