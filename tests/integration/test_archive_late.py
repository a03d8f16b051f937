"""Parts that arrive long after their worker was given up, at a store that takes them into a film that is finished."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Engine, null, update

from infra.settings import Settings
from infra.store_errors import StoreError, UploadGone
from tests.integration.archive_kit import ALL, PART, Yard, film, placed, sha256_of
from tests.origin import File, film_of
from worker import parts, source
from worker.jobs.model import State
from worker.jobs.transfer import Transfer
from worker.spool import SPOOLED_BYTES
from worker.store.tables import transfers
from worker.tape import Held
from worker.tasks import book
from worker.tasks.book import LEASE

FILM = film()
#: Three parts and more, however they are cut.
SIZE = 17 * 2**20
#: What a worker gives a part: it makes them as short as they get, or as long.
SLOW, FAST = 0, 3600


@pytest.fixture(autouse=True)
def longer_parts(monkeypatch: pytest.MonkeyPatch, small_parts: None, no_pauses: None) -> None:
    """Parts of 5 or 10 MiB; who stands still does so with all its threads."""
    monkeypatch.setattr(parts, "LONGEST_PART", 2 * PART)
    monkeypatch.setattr(book, "_SIGN", timedelta(hours=1))


class Frozen:
    """The bucket to a worker that stands still with its second and third part on their way, while `meanwhile` happens;
    then they arrive.
    """

    def __init__(self, bucket: Any, meanwhile: Callable[[], object]) -> None:
        self._bucket = bucket
        self._meanwhile = meanwhile
        self._both, self._over = Event(), Event()
        self.taken = 0  #: how many of them the store took

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def put_stream(self, *_: Any, **__: Any) -> str:
        """No file goes in one piece."""
        fault = StoreError("S3 put: too large")
        fault.code = "EntityTooLarge"
        raise fault

    def put_part(self, key: str, upload: str, number: int, body: Any, length: int) -> str:
        """Send it, the second and the third too late."""
        if number == 1:
            return str(self._bucket.put_part(key, upload, number, body, length))
        sent = b"".join(iter(lambda: bytes(body.read(2**16)), b""))
        if number == 2:
            assert self._both.wait(60)
            try:
                self._meanwhile()
            finally:
                self._over.set()
        self._both.set()
        assert self._over.wait(60)
        with suppress(UploadGone):
            self._bucket.put_part(key, upload, number, Held([sent]), length)
            self.taken += 1
        return "late"


def frozen(made: Yard, meanwhile: Callable[[], object]) -> Frozen:
    """A worker that so stood still."""
    bucket = Frozen(made.bucket, meanwhile)
    made.restarted(bucket=bucket).work()
    return bucket


def archived(made: Yard, file: File) -> None:
    """P2, P7: the film lies in the bucket, as its row says, and in its parts as large films do: the store was not asked
    to copy it onto itself.
    """
    assert (State.ARCHIVED, (ALL, 0, 0)) == (made.state, made.left())
    (stored,) = made.files
    there = hashlib.sha256(b"".join(made.bucket.chunks(stored.key))).hexdigest()
    assert (sha256_of(file), sha256_of(file)) == (stored.sha256, there)


@pytest.mark.parametrize(("spooled", "first", "then"), [(0, SLOW, FAST), (0, FAST, SLOW), (SPOOLED_BYTES, SLOW, FAST)])
def test_a_part_that_arrives_late_brings_what_is_there(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, spooled: int, first: int, then: int
) -> None:
    """P2: a worker stands still with two parts on their way, of a source that was fast or slow, or of what lies on its
    disk. Another one, whose source is otherwise, goes on from its last part and archives the film. Then those two
    arrive, and the store takes them into that film: it stays what it was.
    """
    monkeypatch.setattr(source, "SPOOLED_BYTES", spooled)
    monkeypatch.setattr(parts, "_PART_SECONDS", first)
    file = film_of(FILM, SIZE)
    with placed(settings, engine, file) as (made, _):

        def meanwhile() -> None:
            monkeypatch.setattr(parts, "_PART_SECONDS", then)
            made.clock.advance(60)
            assert State.ARCHIVED is made.work()

        made.bucket.relabel_bytes = 0
        late = frozen(made, meanwhile)

        assert (2, [0, PART]) == (late.taken, [start for start, _ in file.asked])
        archived(made, file)


def test_a_part_of_a_version_before_arrives_late_in_an_upload_that_has_ended(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2: the version before writes no length down, so nobody knows how it cut the film that it left on its way: the
    film comes anew, in an upload of its own, and no attempt has failed.
    """
    monkeypatch.setattr(parts, "_PART_SECONDS", FAST)
    file = film_of(FILM, SIZE)
    with placed(settings, engine, file) as (made, _):

        def meanwhile() -> None:
            with engine.begin() as connection:
                connection.execute(update(transfers).values(intended=null()))
            monkeypatch.setattr(parts, "_PART_SECONDS", SLOW)
            made.clock.advance(60)
            assert State.ARCHIVED is made.work()

        made.bucket.relabel_bytes = 0
        late = frozen(made, meanwhile)

        assert (0, [0, 0], 0) == (late.taken, [start for start, _ in file.asked], made.attempts)
        archived(made, file)


@pytest.mark.parametrize("went_on", [{"upload_id": "other"}, {"size": 2 * PART, "etags": ["a", "b"]}, {}])
def test_what_the_version_before_did_to_an_upload_shows_in_its_row(
    settings: Settings, engine: Engine, went_on: dict[str, Any]
) -> None:
    """It leaves what a newer one wrote as it is: where it has gone on, or has begun another upload, that counts no
    more. Only what both leave alone does.
    """
    with placed(settings, engine, film_of(FILM, SIZE)) as (made, _):
        at = Transfer(
            "video", "original", 0, "b", "k", upload_id="1", etags=("a",), size=PART, intended=(2 * PART, PART)
        )
        assert made.store.lease(made.job_id, "w", made.clock(), LEASE)
        assert made.store.transfers.save(made.job_id, "w", at, made.clock(), LEASE)
        assert [at] == made.store.transfers.of(made.job_id)
        if went_on:
            with engine.begin() as connection:
                connection.execute(update(transfers).values(went_on))

        (read,) = made.store.transfers.of(made.job_id)
        assert (None if went_on else at.intended) == read.intended
        assert made.store.transfers.save(made.job_id, "w", replace(read, upload_id=None), made.clock(), LEASE)
        assert [()] == [one.intended for one in made.store.transfers.of(made.job_id)]
