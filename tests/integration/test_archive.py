"""The archive on a real bucket: every file once, proven, whatever happens on the way."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from time import time
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from infra.settings import Settings
from tests.integration.archive_kit import ALL, Yard, film, in_small_parts, proven, sha256_of, song, video, yard
from tests.origin import File, Origin, film_of, origin
from worker import messages, previews, proof
from worker.jobs import retry
from worker.jobs.model import State
from worker.previews import Previews

FILM = film()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small as S3 allows, so that a small film has several."""
    in_small_parts(monkeypatch)


@pytest.fixture
def place(settings: Settings, engine: Engine) -> Any:
    """Makes a yard with a job of one film, served as the test says."""

    @contextmanager
    def make(file: File, **changes: Any) -> Iterator[tuple[Yard, Origin]]:
        with origin(film=file) as served, yard(settings, engine, [video(served.link("film.mp4"))], **changes) as made:
            yield made, served

    return make


@pytest.mark.parametrize("size", [0, 5 * 2**20, 5 * 2**20 + 1, 17 * 2**20])
def test_a_film_of_any_size_is_archived(place: Any, size: int) -> None:
    """In one piece or in parts, the file in the bucket is the file at the source."""
    file = film_of(FILM, size) if size else File.of(FILM)
    with place(file) as (made, _):
        made.work()

        proven(made, file)


def test_objects_say_what_they_are(place: Any) -> None:
    """Type, name for saving, caching and origin travel with the object, and it is private."""
    with place(File.of(FILM)) as (made, _):
        made.work()
        link = made.bucket.presign(made.files[0].key, seconds=60)
        answer = requests.get(link, timeout=10)

        assert "video/mp4" == answer.headers["Content-Type"]
        assert 'inline; filename="01job-video-0.mp4"' == answer.headers["Content-Disposition"]
        assert "private, max-age=31536000, immutable" == answer.headers["Cache-Control"]
        said = {name: answer.headers.get(f"x-amz-meta-reelhook-{name}") for name in ("job", "task", "model", "sha256")}
        assert {"job": "01job", "task": "t1", "model": "kling-video-o1", "sha256": sha256_of(File.of(FILM))} == said
        assert requests.get(link.partition("?")[0], timeout=10).status_code in {400, 403}


def test_a_slice_ends_and_the_next_goes_on(place: Any) -> None:
    """With no time at all, each task moves one part; the next asks the source for the rest only."""
    file = film_of(FILM, 17 * 2**20)
    with place(file, slice_seconds=0.0) as (made, _):
        states = [made.work() for _ in range(4)]

        assert [State.COPYING] * 3 + [State.ARCHIVED] == states
        assert [(0, 200), (5 * 2**20, 206), (10 * 2**20, 206), (15 * 2**20, 206)] == file.asked
        assert 3 == len([message for message in made.queue.sent if message[0] == messages.ARCHIVE])
        proven(made, file)


def test_another_worker_goes_on_without_the_hash(place: Any) -> None:
    """The SHA-256 of the whole file is right although no one worker saw all of it."""
    file = film_of(FILM, 17 * 2**20)
    with place(file, slice_seconds=0.0) as (made, _):
        while made.state is State.COPYING:
            made.restarted().work()

        proven(made, file)


def test_a_source_that_changed_is_begun_anew(place: Any) -> None:
    """Between two slices the file became another one: nothing of the old one is in the new one."""
    before, after = film_of(FILM, 17 * 2**20), film_of(film(2), 16 * 2**20)
    after.etag = '"2"'
    with place(before, slice_seconds=0.0) as (made, served):
        made.work()
        served.files["film"] = after
        made.until_end()

        proven(made, after)


@pytest.mark.parametrize(
    "changes",
    [
        {"etag": None},
        {"etag": 'W/"1"'},
        {"etag": None, "says_length": False, "chunked": True},
        {"headers": {"Content-Type": "video/mp4", "Accept-Ranges": "none"}},
    ],
)
def test_a_source_that_cannot_go_on_is_copied_at_once(place: Any, changes: dict[str, Any]) -> None:
    """Without a strong validator, or without ranges, a file is fetched once, however long a slice is."""
    file = film_of(FILM, 17 * 2**20)
    file.__dict__.update(changes)
    with place(file, slice_seconds=0.0) as (made, _):
        made.work()

        assert ([(0, 200)], 0) == (file.asked, made.attempts)
        proven(made, file)


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"ranges": False}, [(0, 200), (0, 200)]),
        ({"mute": True}, [(0, 200), (5 * 2**20, 206), (0, 200)]),
    ],
)
def test_a_source_that_turns_out_not_to_go_on_is_copied_then(
    place: Any, changes: dict[str, Any], asked: list[tuple[int, int]]
) -> None:
    """Asked for the rest it gives all of the file, or a part of who knows what: from there on it is copied at once."""
    file = film_of(FILM, 17 * 2**20)
    file.__dict__.update(changes)
    with place(file, slice_seconds=0.0) as (made, _):
        assert [State.COPYING, State.ARCHIVED] == [made.work(), made.work()]

        assert asked == file.asked
        proven(made, file)


def test_a_source_that_gives_little_at_a_time_gets_there(place: Any) -> None:
    """P1: an answer to Range may be shorter than what was asked for. Each brings something, so none is an attempt."""
    file = film_of(FILM, 17 * 2**20)
    file.most = 2**20
    with place(file, slice_seconds=0.0) as (made, _):
        made.until_end()

        assert ([(0, 200), *((at * 2**20, 206) for at in range(5, 17))], 0) == (file.asked, made.attempts)
        proven(made, file)


def test_a_source_in_chunks_goes_on_where_it_was(place: Any) -> None:
    """How long it is, which it did not say at first, it says with the second part."""
    file = film_of(FILM, 17 * 2**20)
    file.says_length, file.chunked = False, True
    with place(file, slice_seconds=0.0) as (made, _):
        made.until_end()

        assert [(at * 5 * 2**20, 206 if at else 200) for at in range(4)] == file.asked
        assert 0 == made.attempts
        proven(made, file)


def test_a_source_that_is_another_one_each_time_is_given_up(place: Any) -> None:
    """P1: each beginning anew is an attempt, and there are only so many."""
    file = film_of(FILM, 17 * 2**20)
    with place(file, slice_seconds=0.0) as (made, _):
        for number in range(50):
            file.etag = f'"{number}"'
            made.work()
            made.clock.advance(100_000)
            if made.state is not State.COPYING:
                break

        assert (State.FAILED, len(retry.ARCHIVE_AGAIN) + 1) == (made.state, made.attempts)
        assert (set(), 0, 0) == made.left()


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("size", [0, 12 * 2**20])
def test_a_source_need_not_say_how_long_it_is(place: Any, size: int, *, chunked: bool) -> None:
    """In chunks, or until the connection ends: there only the boxes tell that the file is whole, and they do."""
    file = film_of(FILM, size) if size else File.of(FILM)
    file.says_length, file.chunked = False, chunked
    with place(file) as (made, _):
        made.work()

        proven(made, file)


@pytest.mark.parametrize("says_length", [True, False])
def test_half_a_film_is_never_archived(place: Any, *, says_length: bool) -> None:
    """A file cut at the source, with a length that agrees or with none, ends as unprovable and leaves nothing."""
    half = film_of(FILM, 12 * 2**20)
    half.size //= 2
    half.says_length = says_length
    with place(half) as (made, _):
        assert State.FAILED is made.until_end()

        assert (set(), 0, 0) == made.left()


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 403},
        {"status": 404},
        {"status": 410},
        {"status": 429, "headers": {"Retry-After": "999999999"}},
        {"size": 6, "read": lambda start, end: b"<html>"[start:end], "headers": {"Content-Type": "text/html"}},
        {"status": 503, "headers": {"Content-Type": "text/html", "Retry-After": "600"}},
        {"size": 0},
        {"claims": 1000},
        {"claims": -1000},
    ],
)
def test_a_dead_link_is_asked_for_anew(place: Any, changes: dict[str, Any]) -> None:
    """Expired, gone, busy, a page, nothing, a wrong length: the provider is asked for a fresh link, which is taken."""
    broken = File.of(FILM)
    broken.__dict__.update(changes)
    good = File.of(FILM)
    with place(broken) as (made, served):
        assert State.COPYING is made.work()
        keys, uploads, _ = made.left()
        assert (set(), 0) == (keys - {"video-0.mp4.rest"}, uploads)
        served.files["film"], served.files["fresh"] = broken, good
        made.provider.outputs = [video(served.link("fresh.mp4"))]
        asked = made.provider.asked
        made.clock.advance(100_000)
        made.until_end()

        assert asked + 1 == made.provider.asked

        proven(made, good)


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (b'{"code": 1101, "message": "expired"}', "application/json"),
        (b'\r\n{"code": 1101}', "video/mp4"),
        (b"\xef\xbb\xbf<!doctype html><title>Sorry</title>", "video/mp4"),
        (b"expired", "text/plain; charset=utf-8"),
        ("Der Link ist ungültig, 链接已过期.\r\n".encode(), "video/mp4"),
        (b"", "video/mp4"),
    ],
)
def test_a_page_by_any_name_is_no_file_and_costs_none(place: Any, page: bytes, said: str) -> None:
    """P1: 200 and no file, more often than a file may fail, and then the file: nothing of it was thrown away."""
    film = film_of(FILM, 12 * 2**20)
    sorry = File.of(page, headers={"Content-Type": said}, ranges=False, etag=None)
    with place(film, slice_seconds=0.0) as (made, served):
        made.work()
        served.files["film"] = sorry
        for _ in range(len(retry.ARCHIVE_AGAIN) + 2):
            assert State.COPYING is made.work()
            made.clock.advance(10_000)
        served.files["film"] = film
        made.until_end()

        assert [(0, 200), (5 * 2**20, 206), (10 * 2**20, 206)] == film.asked
        proven(made, film)


def test_a_film_that_is_called_text_is_a_film(place: Any) -> None:
    """Some CDNs know no better name: its bytes tell."""
    with place(File.of(FILM, headers={"Content-Type": "text/plain"})) as (made, _):
        made.work()

        proven(made, File.of(FILM))


@pytest.mark.parametrize("dated", [False, True])
def test_a_page_that_says_when_to_come_again_is_heard(place: Any, *, dated: bool) -> None:
    """A busy source may say so with a page, as seconds or as a date of its own clock: its status and its wait count."""
    again = formatdate(time() + 600, usegmt=True) if dated else "600"
    busy = File.of(b"busy", status=503, headers={"Content-Type": "text/html", "Retry-After": again})
    with place(busy) as (made, _):
        made.work()
        job = made.store.get(made.job_id)

        assert job is not None
        assert job.due_at is not None
        assert 500 < (job.due_at - made.clock()).total_seconds() <= 600


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("size", [0, 12 * 2**20])
def test_a_source_may_encode_a_film(place: Any, size: int, *, says_length: bool) -> None:
    """What was sent as gzip is archived as the film that it is, whatever length its encoded form has."""
    whole = film_of(FILM, size) if size else File.of(FILM)
    encoded = gzip.compress(whole.read(0, whole.size), 1)
    headers = {"Content-Type": "video/mp4", "Content-Encoding": "gzip"}
    with place(File.of(encoded, headers=headers, says_length=says_length)) as (made, _):
        made.work()

        proven(made, whole)


def test_half_of_an_encoded_film_is_never_archived(place: Any) -> None:
    """Cut on its way, with the length that it would have had: its boxes tell."""
    encoded = gzip.compress(film_of(FILM, 6 * 2**20).read(0, 6 * 2**20), 0)
    headers = {"Content-Type": "video/mp4", "Content-Encoding": "gzip"}
    with place(File.of(encoded[: len(encoded) // 2], headers=headers, claims=len(encoded) // 2)) as (made, _):
        made.work()

        assert (set(), 1) == (made.left()[0], made.attempts)


@pytest.mark.parametrize("said", ["1", "1.0", "1s", " 1 S", "about a second", "-", ""])
def test_what_a_provider_says_of_a_film_need_not_be_a_number(place: Any, said: str) -> None:
    """A duration in other words is no claim; a good film is archived."""
    with place(File.of(FILM)) as (made, _):
        made.provider.outputs = [video(made.provider.outputs[0].url, duration=said)]
        made.work()

        proven(made, File.of(FILM))


@pytest.mark.parametrize("fault", [ValueError("odd"), RuntimeError("odder"), ZeroDivisionError()])
def test_a_decoder_may_raise_anything(place: Any, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    """What nobody foresaw is a failed attempt with its reason, and no death of a worker."""

    def fails(*_: object, **__: object) -> None:
        raise fault

    with place(File.of(FILM)) as (made, _):
        with monkeypatch.context() as patch:
            patch.setattr(proof, "probe_film", fails)
            assert (State.COPYING, 1) == (made.work(), made.attempts)
        made.clock.advance(100_000)
        made.until_end()

        proven(made, File.of(FILM))


@pytest.mark.parametrize("name", ["poster", "contact_sheet"])
def test_a_film_without_pictures_is_archived_all_the_same(
    place: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A picture that can't be made is left out; the other one, the film and its manifest are there."""

    def fails(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(previews, name, fails)
    with place(File.of(FILM)) as (made, _):
        assert State.ARCHIVED is made.work()

        lost = {"poster": "video-0.poster.jpg", "contact_sheet": "video-0.sheet.jpg"}[name]
        assert (ALL - {lost}, 0, 0) == made.left()
        assert [name == "poster", name != "poster"] == [
            made.files[0].poster_key is None,
            made.files[0].sheet_key is None,
        ]


def test_films_that_change_places_are_each_stored_once(place: Any) -> None:
    """P2: asked again because one link had died, the provider names the films in another order."""
    first, second, dead = File.of(FILM), File.of(film(2)), File.of(FILM, status=404)
    with place(first) as (made, served):
        served.files.update(second=second, dead=dead)
        one, other = served.link("film.mp4"), served.link("second.mp4")
        made.provider.outputs = [video(one, 0, id="a"), video(served.link("dead.mp4"), 1, id="b")]
        assert State.COPYING is made.work()
        made.provider.outputs = [video(other, 0, id="b"), video(one, 1, id="a")]
        made.clock.advance(100_000)
        made.until_end()

        assert [("a", 0, sha256_of(first)), ("b", 1, sha256_of(second))] == sorted(
            (file.provider_id, file.ordinal, file.sha256) for file in made.files
        )


def test_sound_without_a_picture_is_no_video(place: Any) -> None:
    """An MP4 that only sounds is not what was asked for, pictures wanted or not."""
    with place(File.of(song()), previews=Previews(posters=False, sheets=False)) as (made, _):
        assert State.FAILED is made.until_end()

        assert (set(), 0, 0) == made.left()


def test_a_film_that_lasts_otherwise_than_said_is_not_it(place: Any) -> None:
    """One second where the provider says ten: some other file came."""
    with place(File.of(FILM)) as (made, _):
        made.provider.outputs = [video(made.provider.outputs[0].url, duration="10")]

        assert State.FAILED is made.until_end()
        assert (set(), 0, 0) == made.left()


def test_pictures_can_be_left_out(place: Any) -> None:
    """With POSTERS and CONTACT_SHEETS off there is the film and its manifest."""
    with place(File.of(FILM), previews=Previews(posters=False, sheets=False)) as (made, _):
        made.work()

        assert ({"video-0.mp4", "manifest.json"}, 0, 0) == made.left()
