"""Films that are laid down here and leave in one piece, and connections that are silent or break meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import pytest
from sqlalchemy import Engine, select

from infra.http import Http
from infra.object_store import ObjectStore
from infra.settings import Settings
from infra.store_errors import StoreError
from tests.integration.archive_kit import Yard, film, proven, video, yard
from tests.origin import File, film_of, origin
from worker import parts, source
from worker.store.tables import jobs
from worker.tasks import book
from worker.tasks.book import CLEARING, LEASE

FILM = film_of(film(), 12 * 2**20)
#: Seconds that only what never comes is waited for.
_LONGEST_WAIT = 60


def _lease_until(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(jobs.c.lease_until)).scalar()


@dataclass
class Silence:
    """Stands before the source and the bucket: whatever is asked of them, they are silent for almost as long as a lease
    lasts, and then on, until it was renewed.
    """

    made: Yard
    engine: Engine
    renewed: dict[str, bool] = field(default_factory=dict)  #: by what was asked, whether it was
    one: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, asked: str) -> None:
        """Be silent."""
        clock = self.made.clock
        with self.one:  # of the two that copy and prove
            clock.advance(LEASE.total_seconds() - 1)
            end = time.monotonic() + _LONGEST_WAIT
            while (until := _lease_until(self.engine)) < clock() + LEASE and time.monotonic() < end:
                time.sleep(0.02)
            self.renewed[asked] = self.renewed.get(asked, True) and until >= clock() + LEASE

    @contextmanager
    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As `Http` does."""
        http = cast("Http", self.made.copier.http)
        with http.stream(*args, **kwargs) as stream:
            self.wait("stream")
            yield replace(stream, chunks=self._chunks(stream))

    def _chunks(self, stream: Any) -> Iterator[bytes]:
        for number, chunk in enumerate(stream.chunks):
            if number == 3:
                self.wait("chunks")
            yield chunk

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.made.bucket, name)
        if not callable(value) or name == "of":
            return value

        def silent(*args: Any, **kwargs: Any) -> Any:
            answer = value(*args, **kwargs)
            self.wait(name)
            return answer

        return silent


@pytest.mark.parametrize(
    ("size", "spooled", "asked"),
    [
        (3 * 2**20, 0, {"put_stream"}),
        (12 * 2**20, 64 * 2**20, {"put_stream"}),
        (12 * 2**20, 0, {"begin", "put_part", "complete", "relabel"}),
    ],
)
def test_who_waits_for_a_source_or_a_bucket_keeps_the_lease(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, size: int, spooled: int, asked: set[str]
) -> None:
    """P1, P2: each may be silent for longer before, while and after it gives or takes a file. Who took the job up then
    would fetch and send all of it once more, and after some of them it would seem to kill its workers.
    """
    monkeypatch.setattr(book, "_WAITING_SECONDS", 0.05)
    monkeypatch.setattr(source, "SPOOLED_BYTES", spooled)
    file = film_of(film(), size)
    with origin(film=file) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        silence: Any = Silence(made, engine)
        made.restarted(http=silence, bucket=silence).work()

        assert dict.fromkeys({"stream", "chunks", "head", "open", "put", *asked}, True) == silence.renewed
        assert 1 == len(file.asked)
        proven(made, file)


@pytest.mark.parametrize("refusal", ["breaks", "EntityTooLarge"])
def test_what_never_gets_there_in_one_piece_goes_in_parts(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    """P1: each connection to the bucket breaks once so many bytes have left by it, or it takes no longer request: a
    part fits.
    """
    monkeypatch.setattr(parts, "PART_BYTES", 5 * 2**20)

    class Short(ObjectStore):
        """The bucket, as far as that lets it."""

        def put_stream(self, *args: Any, **_said: Any) -> str:
            """Tried more than once, as the client would."""
            body = args[1]
            fault = StoreError("S3 put: it is too much")
            fault.code = "" if refusal == "breaks" else refusal
            for _ in range(3):
                body.seek(0)
                while refusal == "breaks" and body.tell() < 7 * 2**20:
                    body.read()
            raise fault

    with origin(film=FILM) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        made.restarted(bucket=Short(settings)).work()

        proven(made, FILM)


def test_two_parts_of_what_lies_here_are_on_their_way_at_a_time(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is far away confirms the first one only after the second has begun to come."""
    monkeypatch.setattr(parts, "PART_BYTES", 5 * 2**20)
    second, waited = threading.Event(), []

    class Far(ObjectStore):
        """The bucket, which takes nothing longer than a part."""

        def put_stream(self, *_args: Any, **_said: Any) -> str:
            """As a proxy in front of it says."""
            fault = StoreError("S3 put: it is too much")
            fault.code = "413"
            raise fault

        def put_part(self, key: str, upload_id: str, number: int, body: Any, length: int) -> str:
            """Wait for the next one."""
            if number == 2:
                second.set()
            etag = super().put_part(key, upload_id, number, body, length)
            if number == 1:
                waited.append(second.wait(_LONGEST_WAIT))
            return etag

    with origin(film=FILM) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        made.restarted(bucket=Far(settings)).work()

        assert [True] == waited
        proven(made, FILM)


def test_uploads_are_ended_by_who_has_the_job_for_as_long_as_that_may_take(settings: Settings, engine: Engine) -> None:
    """P2: a call that is on its way for longer than a lease would end the upload of whoever has the job by then."""

    class Seen:
        """The bucket, and for how long the job is held each time that uploads are ended."""

        held: ClassVar[list[Any]] = []

        def __getattr__(self, name: str) -> Any:
            if name == "end_uploads":
                self.held.append(_lease_until(engine) - made.clock())
            return getattr(made.bucket, name)

    with (
        origin(film=File.of(b"\0no film" * 100)) as served,
        yard(settings, engine, [video(served.link("film.mp4"))]) as made,
    ):
        made.restarted(bucket=Seen()).work()

        assert [CLEARING, CLEARING] == Seen.held
