from functools import lru_cache
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from infra.boxes import NotMedia
from infra.media import look_at_film, probe, probe_film
from infra.upright import sides

#: Encoders and how they group pictures: one long group, several, such that refer to the next, frames out of order.
MAKERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"preset": "ultrafast", "crf": "12"}),
    ("libx264", {"preset": "medium", "bf": "3", "g": "12"}),
    ("libx264", {"preset": "veryfast", "bf": "2", "g": "13", "x264-params": "open-gop=1"}),
    ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
    ("mpeg4", {}),
)


@lru_cache
def film(number: int = 0, movflags: str = "faststart", size: tuple[int, int] = (160, 96)) -> bytes:
    """A film of two seconds by one of `MAKERS`, each frame a piece of noise, so that none is like another."""
    codec, options = MAKERS[number]
    noise = Image.effect_noise((size[0] + 240, size[1] + 200), 60).convert("RGB")
    with (
        NamedTemporaryFile(suffix=".mp4") as out,
        av.open(out.name, "w", options={"movflags": movflags or "0"}) as made,
    ):
        stream: Any = made.add_stream(codec, rate=24, options=options)  # the stubs know only some names
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for at in range(48):
            image = noise.crop((at * 5, at * 4, at * 5 + size[0], at * 4 + size[1]))
            made.mux(stream.encode(av.VideoFrame.from_image(image)))  # type: ignore[no-untyped-call]  # PyAV's own
        made.mux(stream.encode())
        made.close()
        return Path(out.name).read_bytes()


def pixels(frame: Any) -> list[bytes]:
    """What can be seen of it."""
    return [bytes(plane) for plane in frame.planes]


def plainly(body: bytes) -> list[Any]:
    """Every frame, in the order in which they are shown."""
    with av.open(BytesIO(body), "r") as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("movflags", ["faststart", "", "frag_keyframe+empty_moov"])
@pytest.mark.parametrize("number", range(len(MAKERS)))
def test_what_is_shown_is_what_a_player_shows(number: int, movflags: str) -> None:
    """First frame and moments are those of decoding everything, however few were decoded, and the facts agree."""
    body = film(number, movflags)
    whole = plainly(body)
    seen = probe_film(BytesIO(body), moments=4, show=lambda frame: frame)
    alone = probe_film(BytesIO(body))

    for first in (seen.first, alone.first):
        assert whole[0].pts == first.pts
        assert pixels(whole[0]) == pixels(first)
    assert 4 == len(seen.moments)
    for number_of, moment in enumerate(seen.moments):
        (same,) = [frame for frame in whole if frame.pts == moment.pts]
        assert abs((same.time - whole[0].time) - 2 * (number_of + 0.5) / 4) <= 4 / 24
        assert pixels(same) == pixels(moment)
    assert seen.facts == alone.facts == probe(BytesIO(body)) == look_at_film(BytesIO(body))
    assert (160, 96, 24.0, 2.0) == (seen.facts.width, seen.facts.height, seen.facts.fps, seen.facts.duration)


class Watched(BytesIO):
    """A file that knows which of its bytes were read."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.ranges: list[tuple[int, int]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        """As a file does."""
        at = self.tell()
        piece = super().read(size)
        self.ranges.append((at, at + len(piece)))
        return piece


def test_what_lies_between_the_ends_is_not_read() -> None:
    """Of a film of one long group only its index, its first and its last frames are fetched."""
    body = film(size=(640, 360))
    file = Watched(body)
    probe(file)
    between = range(len(body) // 2, len(body) * 9 // 10)

    assert [] == [(start, end) for start, end in file.ranges if start < between.stop and end > between.start]


def test_the_sides_of_a_film_are_those_of_its_picture() -> None:
    """An index that says otherwise is not believed."""
    body = film()
    lying = body.replace((160).to_bytes(2, "big") + (96).to_bytes(2, "big"), (416).to_bytes(2, "big") * 2, 1)
    assert body != lying

    for facts in (probe(BytesIO(lying)), probe_film(BytesIO(lying)).facts, probe_film(BytesIO(lying), moments=9).facts):
        assert (160, 96) == (facts.width, facts.height)


def last_frame_at(body: bytes) -> int:
    """The byte that the last frame begins with."""
    with av.open(BytesIO(body), "r") as container:
        return max(packet.pos or 0 for packet in container.demux(container.streams.video[0]) if packet.size)


@pytest.mark.parametrize("moments", [0, 9])
def test_a_last_frame_of_noise_is_noticed(moments: int) -> None:
    """Whether it was all that was asked for, or moments of the film too."""
    body = film()
    at = last_frame_at(body)
    with pytest.raises(NotMedia):
        probe_film(BytesIO(body[:at] + bytes(range(256)) * ((len(body) - at) // 256 + 1)), moments=moments)


@pytest.mark.parametrize("moments", [0, 9])
@given(number=st.integers(1, 47))
def test_a_film_that_was_cut_inside_a_frame_is_noticed(moments: int, number: int) -> None:
    """Whichever frame it is. A cut between two is seen by the boxes, see `infra.boxes`."""
    body = film()
    with av.open(BytesIO(body), "r") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    end = (packets[number].pos or 0) + packets[number].size // 2
    with pytest.raises(NotMedia):
        probe_film(BytesIO(body[:end]), moments=moments)


@given(at=st.integers(0, 10**6), noise=st.binary(min_size=1, max_size=3000), moments=st.sampled_from([0, 9]))
def test_any_damage_gives_facts_or_the_documented_error(at: int, noise: bytes, moments: int) -> None:
    """Nothing else is raised, and moments come all or not at all; noise may also lay the film on its side."""
    body = film()
    at %= len(body)
    try:
        seen = probe_film(BytesIO(body[:at] + noise + body[at + len(noise) :]), moments=moments)
    except NotMedia:
        return
    assert len(seen.moments) in {0, moments}
    assert sides(seen.first) == (seen.facts.width, seen.facts.height)


def packets(body: bytes) -> list[tuple[int, int]]:
    """Where each frame lies, and its bytes, in the order in which they are sent."""
    with av.open(BytesIO(body), "r") as container:
        return [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_frames_that_are_broken_on_the_way_are_counted(number: int) -> None:
    """One bad frame costs nobody the film, and its moments are shown; that it is there is a fact."""
    body = film(number)
    for broken in (1, 3):
        damaged = body
        for at, size in packets(body)[20 : 20 + broken]:
            damaged = damaged[: at + 8] + bytes(size - 8) + damaged[at + size :]
        seen = probe_film(BytesIO(damaged), moments=9)

        assert (broken, 9) == (seen.damaged_frames, len(seen.moments))
    assert 0 == probe_film(BytesIO(body), moments=9).damaged_frames


def test_a_first_frame_that_is_broken_in_part_is_counted() -> None:
    """A player shows it all the same, with a stain."""
    body = film()
    at, size = packets(body)[0]
    seen = probe_film(BytesIO(body[: at + size // 2] + b"\x55" * 20 + body[at + size // 2 + 20 :]), moments=9)

    assert (1, 9) == (seen.damaged_frames, len(seen.moments))


def test_a_film_that_is_not_gone_through_is_not_called_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor broken: nobody knows of a long one, or of one of which no moments are asked for."""
    assert probe_film(BytesIO(film())).damaged_frames is None
    monkeypatch.setattr("infra.media._FEW_FRAMES", 10)
    assert probe_film(BytesIO(film()), moments=9).damaged_frames is None


def test_a_first_frame_that_is_broken_is_noticed() -> None:
    """What all others stand on has to be there."""
    body = film()
    (at, size), *_ = packets(body)
    with pytest.raises(NotMedia):
        probe_film(BytesIO(body[: at + 8] + bytes(size - 8) + body[at + size :]), moments=9)


def test_a_long_film_is_shown_by_its_key_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a film of many frames none is decoded for a moment of it but the key frame before."""
    monkeypatch.setattr("infra.media._FEW_FRAMES", 10)
    body = film(1)
    keys = [frame.pts for frame in plainly(body) if frame.key_frame]
    seen = probe_film(BytesIO(body), moments=9, show=lambda frame: frame.pts)

    assert 9 == len(seen.moments)
    assert set(seen.moments) <= set(keys)
