"""Sources so slow that a part of a file takes longer than a worker lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from infra.http import Http
from infra.object_store import ObjectStore
from infra.settings import Settings
from infra.stack.servers import Servers
from tests.conftest import environment_for
from tests.integration.archive_kit import PART, Yard, film, placed, proven, video, yard
from tests.origin import File, Tap, film_of, origin
from tests.proxy import FaultProxy
from worker import parts, source
from worker.jobs.model import State
from worker.jobs.transfer import Transfer
from worker.spool import SPOOLED_BYTES
from worker.tasks import book
from worker.tasks.book import LEASE

FILM = film()
#: Seconds of a slice, and of what may still be sent then.
SLICE = {"slice": 0.5, "linger": 0.2}
_MOST_TASKS = 30


@pytest.mark.parametrize(
    ("size", "rate", "spooled"),
    [(600_000, 250_000, 0), (12 * 2**20, 3_500_000, 0), (12 * 2**20, 3_500_000, SPOOLED_BYTES)],
)
def test_a_part_that_takes_longer_than_any_worker_lives_is_sent_all_the_same(
    servers: Servers,
    settings: Settings,
    engine: Engine,
    mortal: Callable[[dict[str, Any]], int],
    size: int,
    rate: int,
    spooled: int,
) -> None:
    """P1, P2, P7: every other worker is killed in the middle of its slice, and each at its platform's patience. Still a
    file whose parts take far longer arrives, laid down or not: a slice that ended in time has brought something, and
    who comes after a death begins no earlier than the dead one did.
    """
    file = film_of(FILM, size)
    common = {
        "settings": environment_for(servers.addresses),
        "part_bytes": PART,
        "spooled": spooled,
        "rate": rate,
        **SLICE,
    }
    with placed(settings, engine, file) as (made, served):
        common |= {"job": made.job_id, "url": served.link("film.mp4")}
        in_time, tasks = 0, 0
        while made.state is State.COPYING and tasks < _MOST_TASKS:
            middle, patience = int(rate * 0.3), int(rate * 1.4)
            ended = mortal({**common, "now": made.clock().isoformat(), "byte": patience if tasks % 2 else middle})
            in_time += ended == 0
            tasks += 1
            made.clock.advance(1000)

        starts = [start for start, _ in file.asked]
        assert all(before <= after for before, after in pairwise(starts))
        assert len(set(starts)) >= in_time
        proven(made, file)


@pytest.mark.parametrize("spooled", [0, SPOOLED_BYTES])
def test_no_slice_waits_for_a_source_that_says_nothing_more(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, spooled: int
) -> None:
    """P1: after some of a film nothing comes, for longer than a platform waits: what came is put aside when the slice
    is over, the next one goes on from there at once, and nothing has failed.
    """
    monkeypatch.setattr(parts, "LINGER", 0.2)
    monkeypatch.setattr(source, "SPOOLED_BYTES", spooled)
    file = film_of(FILM, 12 * 2**20)
    with (
        origin(film=file) as served,
        yard(settings, engine, [], slice_seconds=0.5) as made,
        FaultProxy("127.0.0.1", served.port) as proxy,
    ):
        made.provider.outputs = [video(served.link("film.mp4", proxy.port))]
        http = cast("Http", made.copier.http)

        @contextmanager
        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with http.stream(*args, **kwargs) as stream:
                yield replace(stream, chunks=chunks(stream.chunks))

        def chunks(come: Iterator[bytes]) -> Iterator[bytes]:
            for number, chunk in enumerate(come):
                if number == 2:
                    proxy.stall()
                yield chunk

        made.restarted(http=SimpleNamespace(stream=stream)).work()
        job = made.store.get(made.job_id)
        (begun,) = made.store.transfers.of(made.job_id)

        assert job is not None
        assert (made.clock(), 0) == (job.due_at, job.archive_attempts)
        assert 0 < begun.come < file.size
        proxy.heal()
        made.restarted(slice_seconds=60.0).until_end()
        assert begun.come == file.asked[-1][0]
        proven(made, file)


@pytest.fixture
def slow(settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Yard, File, Tap]]:
    """A yard with a job of one film, its file, and what makes it slow: a slice puts some of it aside."""
    monkeypatch.setattr(parts, "LINGER", 0.2)
    monkeypatch.setattr(book, "_WAITING_SECONDS", 3600)  # a worker that stands still does so with all its threads
    file, tap = film_of(FILM, 600_000), Tap(100_000)
    file.tap = tap
    with placed(settings, engine, file, slice_seconds=0.0) as (made, _):
        try:
            yield made, file, tap
        finally:
            tap.opened.set()


@pytest.fixture
def cut(slow: tuple[Yard, File, Tap], monkeypatch: pytest.MonkeyPatch) -> tuple[Yard, File]:
    """The yard and its file, of which a slice has put something aside. The rest comes in one slice."""
    made, file, tap = slow
    assert State.COPYING is made.work()
    tap.opened.set()
    monkeypatch.setattr(parts, "LINGER", 60)  # a machine that is busy is no slow source
    return made, file


@pytest.mark.parametrize("ended", [True, False])
def test_who_puts_aside_too_late_takes_it_away_again(slow: tuple[Yard, File, Tap], *, ended: bool) -> None:
    """P7: a worker stands still while it puts something aside, until another one has archived the file, or has put more
    aside. Of that first worker nothing is left, and of the other one everything.
    """
    made, file, tap = slow
    other = made.restarted(slice_seconds=60.0 if ended else 0.0)

    class HeldUp:
        """The bucket, which one worker comes to too late; what it sends is stored all the same, as it was sent."""

        def __getattr__(self, name: str) -> Any:
            return getattr(made.bucket, name)

        def put(self, key: str, body: Any, *rest: Any, **said: Any) -> str:
            """Store it, once another worker has taken the job over."""
            sent = b"".join(iter(lambda: bytes(body.read(2**16)), b""))
            made.clock.advance(1000)
            if ended:
                tap.opened.set()
                assert State.ARCHIVED is other.until_end()
            etag = made.bucket.put(key, sent, *rest, **said)
            if not ended:
                assert State.COPYING is other.work()
            return etag

    made.restarted(bucket=HeldUp()).work()
    tap.opened.set()
    if not ended:
        (begun,) = made.store.transfers.of(made.job_id)
        assert begun.rest is not None
        assert begun.rest.size == len(b"".join(made.bucket.chunks(f"{begun.key}.rest")))
        made.clock.advance(1000)
        made.restarted(slice_seconds=60.0).until_end()
    proven(made, file)


def test_what_is_put_aside_is_believed_only_if_it_is_that(cut: tuple[Yard, File]) -> None:
    """A worker that was late has left other bytes there: they are fetched again, and none of the others is sent."""
    made, file = cut
    (key,) = made.bucket.keys("")
    made.bucket.put(key, bytes(200_000), content_type="a/b", filename="x", metadata={})
    made.until_end()

    assert [(0, 200), (0, 200)] == file.asked
    proven(made, file)


def test_what_was_put_aside_may_be_gone(cut: tuple[Yard, File]) -> None:
    """Somebody cleared it away: it is fetched again."""
    made, file = cut
    (key,) = made.bucket.keys("")
    made.bucket.delete(key)
    made.until_end()

    proven(made, file)


def test_what_was_put_aside_of_another_version_is_not_used(cut: tuple[Yard, File]) -> None:
    """The source has changed between two slices: nothing of the old one is in the new one."""
    made, file = cut
    file.etag = '"2"'
    made.until_end()

    assert (2, 1) == (len(file.asked), sum(start == 0 for start, _ in file.asked[1:]))
    proven(made, file)


def test_the_version_before_may_have_gone_on_without_it(cut: tuple[Yard, File]) -> None:
    """A worker that knows nothing of what is aside moves the parts on: it is of another place then, and not used."""
    made, _ = cut
    (begun,) = made.store.transfers.of(made.job_id)
    job = made.store.lease(made.job_id, "old", made.clock(), LEASE)
    assert job is not None
    assert made.store.transfers.save(job.id, "old", replace(begun, size=5), made.clock(), LEASE)

    assert [None] == [one.rest for one in made.store.transfers.of(made.job_id)]


def test_the_version_before_may_have_begun_with_another_file(cut: tuple[Yard, File]) -> None:
    """It knows nothing of what is aside, which begins where nothing was sent: nothing of the old one is in the new."""
    made, file = cut
    (begun,) = made.store.transfers.of(made.job_id)
    file.etag = '"2"'
    job = made.store.lease(made.job_id, "old", made.clock(), LEASE)
    assert job is not None
    assert made.store.transfers.save(made.job_id, "old", replace(begun, validator=file.etag), made.clock(), LEASE)
    made.clock.advance(100)

    assert [None] == [one.rest for one in made.store.transfers.of(made.job_id)]
    made.until_end()
    proven(made, file)


@pytest.mark.parametrize("shorter", [False, True])
def test_what_is_put_aside_may_become_another_one_while_it_is_read(cut: Any, *, shorter: bool) -> None:
    """A worker that was late writes over it after it was looked at, with as many bytes or fewer: all comes anew."""
    made, file = cut
    (key,) = made.bucket.keys("")
    size = len(b"".join(made.bucket.chunks(key)))

    class Late:
        """The bucket, in which that happens."""

        looks = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(made.bucket, name)

        def chunks(self, asked: str) -> Any:
            """What lies there."""
            self.looks += asked == key
            if self.looks == 2:
                made.bucket.put(key, bytes(1 if shorter else size), content_type="a/b", filename="x", metadata={})
            return made.bucket.chunks(asked)

    late = Late()
    made.restarted(bucket=late).until_end()

    assert (2, 0, 0) == (late.looks, file.asked[-1][0], made.attempts)
    proven(made, file)


@pytest.mark.parametrize(("equal", "wanted"), [(True, [5, 5, 5, 5, 4]), (False, [5, 19])])
def test_equal_parts_where_the_store_wants_them(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, *, equal: bool, wanted: list[int]
) -> None:
    """R2 takes only parts of one length; elsewhere they become longer where the source is fast."""
    lengths: list[int] = []
    put_part = ObjectStore.put_part

    def counted(self: ObjectStore, key: str, upload_id: str, number: int, body: Any, length: int) -> str:
        lengths.append(length)
        return put_part(self, key, upload_id, number, body, length)

    monkeypatch.setattr(ObjectStore, "put_part", counted)
    monkeypatch.setattr(parts, "PART_BYTES", PART)
    monkeypatch.setattr(source, "SPOOLED_BYTES", 0)  # so that it goes in parts
    monkeypatch.setattr(parts, "_PART_SECONDS", 3600)  # so that a busy machine is fast enough
    file = film_of(FILM, 24 * 2**20)
    with placed(settings, engine, file, slice_seconds=3600.0) as (made, _):
        made.bucket.equal_parts = equal
        made.until_end()

        assert [count * 2**20 for count in wanted] == lengths
        proven(made, file)


@given(length=st.integers(1, 5 * 2**40), begun=st.integers(0, 9_999), equal=st.booleans())
def test_ten_thousand_parts_hold_every_file(length: int, begun: int, *, equal: bool) -> None:
    """However long a file is, there are no more parts than S3 takes, also if no part ever is longer than it must be."""
    at = Transfer("video", "original", 0, "bucket", "key")
    first, _ = parts.lengths(at, length, equal=equal)
    begun = min(begun, length // first)
    at = replace(at, etags=("x",) * begun, size=begun * first)
    least, following = parts.lengths(at, length, equal=equal)

    assert begun + -(-(length - at.size) // least) <= 10_000
    assert (first if equal else least) == following(1, 10**9)
