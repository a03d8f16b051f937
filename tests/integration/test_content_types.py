"""A file is stored as what it is, whatever its link ends with."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import av
import pytest
from PIL import Image
from sqlalchemy import Engine

from infra.emulator.tone import write_tone
from infra.settings import Settings
from tests.fakes import MORNING
from tests.integration.archive_kit import film, song, video, yard
from tests.origin import File, film_of, origin
from webhook.verdicts import Judge
from worker import parts, source
from worker.jobs.model import State
from worker.kling.wire import Output


def picture(form: str) -> bytes:
    """A real picture."""
    body = BytesIO()
    Image.new("RGB", (64, 48), (1, 2, 3)).save(body, form)
    return body.getvalue()


def tone(ending: str) -> bytes:
    """A second of real sound."""
    with NamedTemporaryFile(suffix=f".{ending}") as out:
        write_tone(Path(out.name), 1)
        return Path(out.name).read_bytes()


def covered(song: bytes) -> bytes:
    """An MP3 with the picture of its record."""
    frame = b"\0image/png\0\x03\0" + picture("PNG")
    tag = b"APIC" + len(frame).to_bytes(4, "big") + b"\0\0" + frame
    return (
        b"ID3\x03\0\0"
        + bytes((len(tag) >> shift) & 0x7F for shift in (21, 14, 7, 0))
        + tag
        + song[song.index(b"\xff\xfb") :]
    )


@cache
def film_as(ending: str, codec: str) -> bytes:
    """A second of a real film in another container."""
    with NamedTemporaryFile(suffix=f".{ending}") as out:
        with av.open(out.name, "w") as made:
            stream: Any = made.add_stream(codec, rate=24)  # the stubs know only some names
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for number in range(24):
                frame = av.VideoFrame.from_image(Image.new("RGB", (64, 64), (number * 9, 0, 0)))  # type: ignore[no-untyped-call]  # PyAV leaves this one untyped
                made.mux(stream.encode(frame))
            made.mux(stream.encode())
        return Path(out.name).read_bytes()


#: Kind, bytes, what the link ends with, what its key has to end with, and its type.
CASES: tuple[tuple[str, bytes, str, str, str], ...] = (
    ("image", picture("JPEG"), "", "image-0.jpg", "image/jpeg"),
    ("image", picture("PNG"), ".jpg", "image-0.png", "image/png"),
    ("image", picture("WEBP"), ".png", "image-0.webp", "image/webp"),
    ("image", picture("GIF"), ".gif", "image-0.gif", "image/gif"),
    ("video", film(), "", "video-0.mp4", "video/mp4"),
    ("video", film_as("mov", "libx264"), ".mp4", "video-0.mov", "video/quicktime"),
    ("video", film_as("webm", "libvpx"), ".mp4", "video-0.webm", "video/webm"),
    ("audio", tone("mp3"), "", "audio-0.mp3", "audio/mpeg"),
    ("audio", covered(tone("mp3")), "", "audio-0.mp3", "audio/mpeg"),
    ("audio", tone("wav"), ".mp3", "audio-0.wav", "audio/wav"),
    ("audio", song(), ".mp3", "audio-0.m4a", "audio/mp4"),
)


@pytest.mark.parametrize(("kind", "body", "ending", "name", "content_type"), CASES, ids=[case[4] for case in CASES])
def test_a_file_is_stored_as_what_it_is(
    settings: Settings, engine: Engine, kind: str, body: bytes, ending: str, name: str, content_type: str
) -> None:
    """Its first bytes say what its key ends with and what type it is stored as; `reelhook verify` reads it as that."""
    file = File.of(body, headers={"Content-Type": "application/octet-stream"})
    with (
        origin(file=file) as served,
        yard(settings, engine, [Output(kind, "original", 0, "1", served.link(f"file{ending}"), None)]) as made,
    ):
        made.work()

        assert State.ARCHIVED is made.state
        (stored,) = made.files
        said = made.bucket.head(stored.key)
        assert said is not None
        assert (name, content_type) == (stored.key.rpartition("/")[2], stored.content_type)
        assert (len(body), content_type) == (said.size, said.content_type)
        assert Judge(made.bucket).of_file("job", stored, MORNING).why is None


def test_another_worker_goes_on_under_the_same_name(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learned of the first bytes holds for the slices after: the file is begun once, and in parts."""
    monkeypatch.setattr(parts, "PART_BYTES", 5 * 2**20)
    monkeypatch.setattr(parts, "LONGEST_PART", 5 * 2**20)
    monkeypatch.setattr(source, "SPOOLED_BYTES", 0)  # so that it goes in parts
    monkeypatch.setattr(parts, "LINGER", 60)  # a machine that is busy is no slow source
    file = film_of(film_as("mov", "libx264"), 12 * 2**20)
    with (
        origin(file=file) as served,
        yard(settings, engine, [video(served.link("file.mp4"))], slice_seconds=0.0) as made,
    ):
        while made.state is State.COPYING:
            made.restarted().work()

        assert [0, 5 * 2**20, 10 * 2**20] == [start for start, _ in file.asked]
        assert ["video/quicktime"] == [stored.content_type for stored in made.files]
        names = {"video-0.mov", "video-0.poster.jpg", "video-0.sheet.jpg", "manifest.json"}
        assert (names, 0, 0) == made.left()
