"""The archive on a real bucket: every file once, proven, whatever happens on the way."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.integration.archive_kit import ALL, film, proven, sha256_of, song, video
from tests.origin import File, film_of
from worker import messages, previews, proof
from worker.jobs.model import State
from worker.previews import Previews

pytestmark = pytest.mark.usefixtures("small_parts")

FILM = film()


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
        answer = requests.get(link, timeout=60)

        assert "video/mp4" == answer.headers["Content-Type"]
        assert 'inline; filename="01job-video-0.mp4"' == answer.headers["Content-Disposition"]
        assert "private, max-age=31536000, immutable" == answer.headers["Cache-Control"]
        said = {name: answer.headers.get(f"x-amz-meta-reelhook-{name}") for name in ("job", "task", "model", "sha256")}
        assert {"job": "01job", "task": "t1", "model": "kling-video-o1", "sha256": sha256_of(File.of(FILM))} == said
        assert requests.get(link.partition("?")[0], timeout=60).status_code in {400, 403}


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
