"""What a source of a result may be like: it changes, breaks off, says no length, is a page, comes encoded."""

from __future__ import annotations

import gzip
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from tests.integration.archive_kit import film, proven, video
from tests.origin import File, film_of
from worker.jobs import retry
from worker.jobs.model import State

pytestmark = pytest.mark.usefixtures("small_parts")

FILM = film()


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


def test_a_source_may_say_its_length_twice(place: Any) -> None:
    """As some do behind a proxy: where both are the same it is whole, and the film is archived."""
    file = File.of(FILM)
    file.headers = {**file.headers, "Content-Length": str(len(FILM))}
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
