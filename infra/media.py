"""What a media file is: its facts, a poster of it, and whether its container is whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import IO, Any

import av
from av.error import FFmpegError
from PIL import Image, UnidentifiedImageError

#: What Pillow raises of bytes that are no picture, or one too large to be honest.
_NO_PICTURE = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


#: Decoders that carry on where a frame that others refer to is missing.
_SKIPPING = frozenset({"h264", "hevc"})
_LAST_PACKETS = 2


class NotMedia(Exception):
    """The bytes are not what they claim to be; the text says in which way."""


@dataclass(frozen=True)
class MediaFacts:
    """Facts read from the file itself. Seconds, pixels, frames a second; None where the medium has no such thing."""

    container: str
    duration: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    video_codec: str | None = None
    audio_codec: str | None = None


def probe(file: IO[bytes] | Any) -> MediaFacts:
    """The facts of a video or audio file, with its first and its last frame decoded. Raises `NotMedia`.

    A file that was cut after its index still opens; its last frame does not decode.
    """
    return _probed(file)[0]


def probe_film(file: IO[bytes] | Any) -> tuple[MediaFacts, Any]:
    """The same for a film, which must have a picture, and its first frame, as PyAV has it. Raises `NotMedia`."""
    facts, frame = _probed(file)
    if facts.width is None:
        raise NotMedia("holds no picture")
    return facts, frame


def _probed(file: IO[bytes] | Any) -> tuple[MediaFacts, Any]:
    try:
        with av.open(file, "r", metadata_errors="ignore") as container:
            facts = _facts(container)
            return facts, _decode_ends(container, next(iter([*container.streams.video, *container.streams.audio])))
    except FFmpegError as fault:
        raise NotMedia(f"does not decode ({fault.strerror})") from fault


def _facts(container: Any) -> MediaFacts:
    video = next(iter(container.streams.video), None)
    audio = next(iter(container.streams.audio), None)
    if video is None and audio is None:
        raise NotMedia("holds neither picture nor sound")
    return MediaFacts(
        container=container.format.name,
        duration=_seconds(container, video or audio),
        width=video.width if video else None,
        height=video.height if video else None,
        fps=_rate(video.average_rate) if video else None,
        video_codec=video.codec_context.name if video else None,
        audio_codec=audio.codec_context.name if audio else None,
    )


def _seconds(container: Any, stream: Any) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return round(float(stream.duration * stream.time_base), 3)
    return round(container.duration / av.time_base, 3) if container.duration else None


def _rate(rate: Fraction | None) -> float | None:
    return round(float(rate), 3) if rate else None


def _decode_ends(container: Any, stream: Any) -> Any:
    """The first frame, once the last one has decoded too."""
    # Few frames are decoded: threads would cost more than they bring.
    stream.codec_context.thread_count = 1
    first = next(container.decode(stream), None)
    if first is None:
        raise NotMedia("has no frame that decodes")
    if not (stream.codec_context.name in _SKIPPING and _decodes_at_its_end(container, stream)):
        _to_the_end(container, stream)
        if not sum(1 for _ in container.decode(stream)):
            raise NotMedia("has no last frame that decodes")
    return first


def _decodes_at_its_end(container: Any, stream: Any) -> bool:
    """Whether the last frames decode after their key frame, without the hundreds between that nobody looks at.

    What lies between is read, so a file that was cut is noticed. False leaves the judgement to a decoder of all.
    """
    _to_the_end(container, stream)
    last: deque[Any] = deque(maxlen=_LAST_PACKETS)
    key, shown = None, 0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            return False
        if packet.is_keyframe:
            key = packet
            last.clear()
        elif packet.size:
            last.append(packet)
    try:
        for packet in [key, *last, None] if key else ():
            shown += len(stream.codec_context.decode(packet))
    except FFmpegError:
        return False
    return shown > len(last)


def _to_the_end(container: Any, stream: Any) -> None:
    """Go to the last key frame."""
    if stream.duration:
        container.seek((stream.start_time or 0) + stream.duration, stream=stream)


def look_at_image(body: bytes) -> MediaFacts:
    """Format and sides of a still picture, from its head and its check sums, without its pixels. Raises `NotMedia`."""
    try:
        with Image.open(BytesIO(body)) as image:
            facts = MediaFacts(container=(image.format or "?").lower(), width=image.width, height=image.height)
            image.verify()
    except _NO_PICTURE as fault:
        raise NotMedia(f"is no picture ({type(fault).__name__})") from fault
    return facts


def probe_image(body: bytes) -> MediaFacts:
    """The facts of a still picture, decoded whole. Raises `NotMedia`."""
    try:
        with Image.open(BytesIO(body)) as image:
            image.load()
            return MediaFacts(container=(image.format or "?").lower(), width=image.width, height=image.height)
    except _NO_PICTURE as fault:
        raise NotMedia(f"is no picture ({type(fault).__name__})") from fault


def look_at_film(file: IO[bytes] | Any) -> MediaFacts:
    """The facts of a film from its index alone, no frame decoded. Raises `NotMedia`."""
    try:
        with av.open(file, "r", metadata_errors="ignore") as container:
            if not container.streams.video:
                raise NotMedia("holds no picture")
            return _facts(container)
    except (FFmpegError, ValueError) as fault:
        raise NotMedia("is no film") from fault


class BoxWalk:
    """Follows the top-level boxes of an ISO media file (MP4, MOV) while its bytes pass by, keeping none of them.

    Source: ISO/IEC 14496-12, 4.2. A file that was cut anywhere ends inside a box.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Begin, or go on from what `state()` said."""
        self.boxes: list[str] = list(state["boxes"]) if state else []
        self._header = bytearray.fromhex(state["header"]) if state else bytearray()
        self._skip: int = state["skip"] if state else 0
        self._open_ended: bool = state["open_ended"] if state else False

    def state(self) -> dict[str, Any]:
        """Where the walk stands, as JSON can hold it: another process may go on from here."""
        return {
            "boxes": self.boxes,
            "header": self._header.hex(),
            "skip": self._skip,
            "open_ended": self._open_ended,
        }

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `NotMedia` as soon as they can't be such a file."""
        view = memoryview(chunk)
        while view and not self._open_ended:
            if self._skip:
                step = min(self._skip, len(view))
                self._skip -= step
                view = view[step:]
                continue
            need = 16 if self._header[:4] == b"\0\0\0\1" else 8
            take = min(need - len(self._header), len(view))
            self._header += view[:take]
            view = view[take:]
            if len(self._header) >= 8 and (len(self._header) == 16 or self._header[:4] != b"\0\0\0\1"):
                self._enter()

    def finish(self) -> None:
        """Say that no bytes follow. Raises `NotMedia` when a box is cut, or moov or mdat is not there."""
        if self._header or self._skip:
            raise NotMedia("ends inside a box: it was cut")
        if missing := {"moov", "mdat"} - set(self.boxes):
            raise NotMedia(f"has no {' and no '.join(sorted(missing))} box")

    def _enter(self) -> None:
        length = int.from_bytes(self._header[:4], "big")
        kind = self._header[4:8].decode("latin-1")
        if not self.boxes and kind != "ftyp":
            raise NotMedia("does not begin as an MP4 or MOV file")
        if length == 1:
            length = int.from_bytes(self._header[8:16], "big")
        self._open_ended = length == 0
        if length and length < len(self._header):
            raise NotMedia("has a box of impossible length")
        self._skip = max(length - len(self._header), 0)
        self._header.clear()
        if kind not in self.boxes:  # a fragmented film repeats two of them thousands of times
            self.boxes.append(kind)
