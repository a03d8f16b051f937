import base64
import json
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from rich.console import Console

from infra.media import MediaFacts, probe
from infra.stack import samples
from infra.stack.demo_proof import NotProven, Seen, _compare
from infra.stack.demo_requests import Expected, Media, requests_of
from infra.stack.demo_view import Followed, Progress
from infra.stack.kept import Kept
from infra.stills import probe_image

MEDIA = Media("http://127.0.0.1/picture", "http://127.0.0.1/film")


def test_the_sample_film_is_a_reference_that_kling_takes() -> None:
    """Five seconds, 1280x720, 24 frames a second, with a sound track, in MP4."""
    facts = probe(BytesIO(samples.film()))

    expected = MediaFacts(facts.container, 5.0, 1280, 720, 24.0, "h264", "aac")
    assert expected == facts
    assert "mp4" in facts.container


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_sample_picture_has_the_form_and_size_asked_for(form: str) -> None:
    """What is made decodes as what it claims to be."""
    assert MediaFacts(form.lower(), None, 960, 720) == probe_image(samples.picture(960, 720, form))


def test_the_requests_cover_what_the_seeds_show_and_the_persons_own() -> None:
    """Six requests with their sources, raw base64 in one of them, and the prompt on top."""
    asked = requests_of(MEDIA, "http://127.0.0.1/told", "a cat on a skateboard")
    image = next(one.body["image"] for one in asked if "image" in one.body)

    assert 7 == len({one.name for one in asked})
    assert "a cat on a skateboard" == asked[-1].body["prompt"]
    assert all("(seed 00" in one.source for one in asked)
    assert "jpeg" == probe_image(base64.b64decode(image)).container
    assert 2 <= sum(bool(one.body.get("callback_url")) for one in asked)
    assert json.dumps([dict(one.body) for one in asked])


def test_what_happens_is_told_in_the_order_of_time() -> None:
    """On no terminal each change is a line; one that came to a later job earlier does not stand below a later time."""
    jobs = [Followed(asked) for asked in requests_of(MEDIA, "http://127.0.0.1/told", None)[:3]]
    told = StringIO()
    with Progress(Console(file=told, width=200), jobs) as progress:
        for seconds, state in (((0.0, 0.0, 0.0), "accepted"), ((9.0, 8.0, 7.0), "running")):
            for job, since in zip(jobs, seconds, strict=True):
                job.state, job.seconds = state, since
            progress.refresh()
    lines = told.getvalue().splitlines()

    assert ["accepted"] * 3 + ["running"] * 3 == [line.split()[-1] for line in lines]
    assert sorted(lines, key=lambda line: float(line.split()[0])) == lines


SEEN = Seen("0" * 64, 1000, 5.04, 1280, 720, "h264", sound=False, frames=121)


def test_a_result_that_is_what_was_asked_for_passes() -> None:
    """A frame more or less does not matter."""
    _compare("key", SEEN, Expected(5, 16 / 9, 720))


@pytest.mark.parametrize(
    "expected",
    [Expected(10, 16 / 9, 720), Expected(5, 1, 720), Expected(5, 16 / 9, 1080), Expected(5, 16 / 9, 720, sound=True)],
)
def test_a_result_that_is_something_else_is_not_proven(expected: Expected) -> None:
    """Another duration, ratio, size, or a missing sound is found."""
    with pytest.raises(NotProven, match="key"):
        _compare("key", SEEN, expected)


def test_kept_values_are_found_again_and_private(tmp_path: Path) -> None:
    """A value is made once for a folder, and its file is its owner's only."""
    path = tmp_path / "kept.json"
    made = Kept(path).once("secret", lambda: "first")
    port = Kept(path).port("web")

    assert made == Kept(path).once("secret", lambda: "second")
    assert port == Kept(path).port("web")
    assert 0o600 == path.stat().st_mode & 0o777
