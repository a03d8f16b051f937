"""Makes real MP4s: H.264 and, if there is sound, AAC.

A second of 1080p would cost most of its time in drawing and in colour conversion; so each background is drawn and
converted once, and for each frame only the digits of the running time that changed are copied into its luma.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from PIL import Image, ImageDraw

from infra.emulator.canvas import Font, Sheet, draw, font
from infra.emulator.tone import tone_frames

RATE = 24
_PATTERN = "00:00.00"


class Stopped(Exception):
    """The emulator ends, the film is not finished."""


@dataclass(frozen=True)
class Shot:
    """A part of a film with a background of its own."""

    frames: int
    sheet: Sheet


@dataclass(frozen=True)
class Film:
    """A whole film; equal films have equal bytes."""

    shots: tuple[Shot, ...]
    sounds: bool

    @property
    def seconds(self) -> float:
        """Its length."""
        return sum(shot.frames for shot in self.shots) / RATE


class Clock:
    """The running time in the corner of a film."""

    def __init__(self, width: int, height: int) -> None:
        size = max(16, min(width, height) // 16)
        face = font(size, _PATTERN)
        self._cell = (max(int(face.getlength(letter)) for letter in "0123456789") + 2, size * 5 // 4)
        self._digits = {letter: self._rows(letter, face) for letter in "0123456789:."}
        self._left, self._top = size, height - size - self._cell[1]

    def _rows(self, letter: str, face: Font) -> list[bytes]:
        glyph = Image.new("L", self._cell, 16)
        ImageDraw.Draw(glyph).text((self._cell[0] / 2, 0), letter, 235, face, anchor="ma")
        width, height = self._cell
        data = glyph.tobytes()
        return [data[row * width : (row + 1) * width] for row in range(height)]

    def prepare(self, image: Image.Image) -> None:
        """Black out its place, so that changing luma alone is enough."""
        width = self._cell[0] * len(_PATTERN)
        pen = ImageDraw.Draw(image)
        pen.rectangle((self._left - 2, self._top - 2, self._left + width + 1, self._top + self._cell[1] + 1), (0, 0, 0))

    def show(self, frame: av.VideoFrame, text: str, shown: str) -> None:
        """Write `text` where `shown` stands."""
        plane = frame.planes[0]
        luma = memoryview(plane)
        for place, (new, old) in enumerate(zip(text, shown, strict=True)):
            if new != old:
                start = self._top * plane.line_size + self._left + place * self._cell[0]
                for row in self._digits[new]:
                    luma[start : start + len(row)] = row
                    start += plane.line_size


def make(film: Film, path: Path, stopped: Callable[[], bool]) -> None:
    """Write `film` to `path`; Stopped as soon as `stopped()` says so."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video, audio = _streams(container, film)
        sound = tone_frames(film.seconds) if audio else iter(())
        for number, frame in enumerate(_frames(film)):
            if stopped():
                raise Stopped
            container.mux(video.encode(frame))
            if audio and number % RATE == 0:
                _sound_second(container, audio, sound)
        container.mux(video.encode(None))
        if audio:
            for piece in sound:
                container.mux(audio.encode(piece))
            container.mux(audio.encode(None))


def _streams(container: OutputContainer, film: Film) -> tuple[VideoStream, AudioStream | None]:
    sheet = film.shots[0].sheet
    video = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "30"})
    video.width, video.height, video.pix_fmt = sheet.width, sheet.height, "yuv420p"
    # Renderings run beside each other already; one thread each also makes equal films equal in bytes.
    video.thread_count = 1
    if not film.sounds:
        return video, None
    audio = container.add_stream("aac", rate=44100, layout="mono")
    audio.bit_rate = 64_000
    return video, audio


def _sound_second(container: OutputContainer, audio: AudioStream, sound: Iterator[av.AudioFrame]) -> None:
    piece = next(sound, None)
    if piece is not None:
        container.mux(audio.encode(piece))


def _frames(film: Film) -> Iterator[av.VideoFrame]:
    clock = Clock(film.shots[0].sheet.width, film.shots[0].sheet.height)
    number = 0
    for shot in film.shots:
        image = draw(shot.sheet)
        clock.prepare(image)
        drawn: av.VideoFrame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call] # PyAV left it so
        frame = drawn.reformat(format="yuv420p")
        shown = " " * len(_PATTERN)
        for _ in range(shot.frames):
            text = f"{number // RATE // 60:02}:{number // RATE % 60:02}.{number % RATE:02}"
            clock.show(frame, text, shown)
            frame.pts, shown, number = number, text, number + 1
            yield frame
