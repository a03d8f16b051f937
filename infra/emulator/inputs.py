"""Fetches the media that a request names, and judges them as Kling does: late, by failing the task."""

import base64
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from infra.emulator.ask import Ask
from infra.emulator.config import Edition
from infra.emulator.ids import sequence
from infra.emulator.world import World

_TIMEOUT_SECONDS = 10.0
_CHUNK = 1 << 18
_IMAGE_BYTES = 10 << 20
_VIDEO_BYTES = 200 << 20

# Recorded texts of the live service; the others follow their pattern.
PIXEL = "Image pixel is invalid"
SHAPE = (
    "The resolution or aspect ratio of the input image is invalid. "
    "Please ensure it meets the required specifications."
)  # fmt: skip
VIDEO_URL = "Video URL is invalid"
IMAGE_URL = "Image URL is invalid"
IMAGE_FORMAT = "Image format is invalid"
IMAGE_SIZE = "Image size is invalid"
VIDEO_SHAPE = "Video resolution is invalid"
VIDEO_SECONDS = "Video duration is invalid"
VIDEO_RATE = "Video frame rate is invalid"
VIDEO_SIZE = "Video size is invalid"
SOUND_URL = "Sound file is invalid"


class Unusable(Exception):
    """An input that makes the task fail; its text becomes `task_status_msg`."""


@dataclass(frozen=True)
class Picture:
    """A fetched image, or the first frame of a video."""

    path: Path
    width: int
    height: int


@dataclass(frozen=True)
class Footage:
    """A fetched video."""

    path: Path
    width: int
    height: int
    seconds: float
    rate: float
    sounds: bool
    still: Picture | None = None


@dataclass(frozen=True)
class Inputs:
    """All media of one request, in its order."""

    pictures: tuple[Picture, ...] = ()
    footage: tuple[Footage, ...] = ()


class Fetcher:
    """Brings the media of one request into a folder of its own."""

    def __init__(self, world: World, folder: Path, edition: Edition, stopped: Callable[[], bool]) -> None:
        self._world = world
        self._folder = folder
        self._edition = edition
        self._stopped = stopped

    def gather(self, ask: Ask) -> Inputs:
        """Everything that `ask` names; Unusable says what is wrong with the first bad one."""
        pictures = tuple(self.picture(source) for source in ask.media("images"))
        footage = tuple(self._footage(source, ask) for source in ask.media("videos"))
        clips = (self._world.clip(video_id) for video_id in ask.media("clips"))
        footage += tuple(watch(clip.path, self._folder) for clip in clips if clip)
        for source in ask.media("sounds"):
            self._bring(source, _IMAGE_BYTES, SOUND_URL, SOUND_URL)
        return Inputs(pictures, footage)

    def picture(self, source: str) -> Picture:
        """An image that may be used."""
        path = self._bring(source, _IMAGE_BYTES, IMAGE_URL, IMAGE_SIZE)
        picture = look(path)
        if min(picture.width, picture.height) < 300:
            raise Unusable(PIXEL)
        if not 0.4 <= picture.width / picture.height <= 2.5:
            raise Unusable(SHAPE)
        return picture

    def film(self, source: str) -> Footage:
        """A video, whatever its measures."""
        if not source.startswith(("http://", "https://")):
            raise Unusable(VIDEO_URL)
        return watch(self._bring(source, _VIDEO_BYTES, VIDEO_URL, VIDEO_SIZE), self._folder)

    def _footage(self, source: str, ask: Ask) -> Footage:
        footage = self.film(source)
        if ask.family.path == "videos/omni-video":
            _check_reference(footage, self._edition, ask.model)
        return footage

    def _bring(self, source: str, limit: int, unreachable: str, too_big: str) -> Path:
        path = self._folder / f"input-{next(sequence)}"
        if source.startswith(("http://", "https://")):
            try:
                self._download(source, path, limit, too_big)
            except (requests.RequestException, OSError):
                raise Unusable(unreachable) from None
        else:
            try:
                path.write_bytes(base64.b64decode(source, validate=True))
            except ValueError:
                raise Unusable("File is not in a valid base64 format") from None
            if path.stat().st_size > limit:
                raise Unusable(too_big)
        return path

    def _download(self, url: str, path: Path, limit: int, too_big: str) -> None:
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        with requests.Session() as session:
            session.trust_env = False
            with session.get(url, stream=True, timeout=_TIMEOUT_SECONDS) as answer, path.open("wb") as file:
                answer.raise_for_status()
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
                    if file.tell() > limit:
                        raise Unusable(too_big)
                    if self._stopped() or time.monotonic() > deadline:
                        raise requests.Timeout


def look(path: Path) -> Picture:
    """The size of a JPEG or PNG; Unusable for anything else."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - loaded when first needed, the server starts faster

    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=("JPEG", "PNG")) as image:
            image.load()
            return Picture(path, *image.size)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise Unusable(IMAGE_FORMAT) from None


def watch(path: Path, folder: Path) -> Footage:
    """The facts of a video file, and its first frame in `folder`; Unusable if there is no video in it."""
    import av  # noqa: PLC0415 - as in `look`

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            still = next(container.decode(stream)).to_image()  # type: ignore[no-untyped-call] # PyAV left it so
            seconds = float((stream.duration or 0) * (stream.time_base or 0)) or (container.duration or 0) / 1e6
            rate = float(stream.average_rate or 0)
            sounds = bool(container.streams.audio)
    except (av.FFmpegError, OSError, IndexError, StopIteration):
        raise Unusable(VIDEO_URL) from None
    frame = folder / f"still-{next(sequence)}.jpg"
    still.save(frame, quality=85)
    width, height = still.size
    return Footage(path, width, height, seconds, rate, sounds, Picture(frame, width, height))


def _check_reference(footage: Footage, edition: Edition, model: str) -> None:
    """Section 4: the limits of omni's reference video widened in mid-2026."""
    wide = edition is Edition.JUNE
    smallest, largest = (700, 4553) if wide else (720, 2160)
    longest = 15.5 if wide and model != "kling-video-o1" else 10.05
    if not smallest <= min(footage.width, footage.height) <= max(footage.width, footage.height) <= largest:
        raise Unusable(VIDEO_SHAPE)
    if not 2.95 <= footage.seconds <= longest:
        raise Unusable(VIDEO_SECONDS)
    # 24000/1001 is what cinema calls 24.
    if not 23.97 <= footage.rate <= 60.01:
        raise Unusable(VIDEO_RATE)
