"""What a media file is: its facts, and whether what it shows first and last is there to be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import IO, Any

import av
from av.error import FFmpegError
from av.stream import Disposition

from infra import frames, sound
from infra.boxes import NotMedia
from infra.fragments import seconds_said
from infra.opening import LIMITS, opened
from infra.room import LARGEST_FILM, SMALL_FILM, Claim, room
from infra.upright import sides

#: Seconds by which a file may end before it says so, and as a part of what it says.
_SLACK = (0.25, 0.02)
#: A film of more frames is not decoded whole for moments of it: of such a one the key frames do, which are many.
_FEW_FRAMES = 750


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


@dataclass(frozen=True)
class Film:
    """What was seen of a file: of a film more than its facts."""

    facts: MediaFacts
    first: Any = None  #: its first frame, as PyAV has it
    moments: tuple[Any, ...] = ()  #: what `show` made of those that were asked for; none where one could not be had
    damaged_frames: int | None = None  #: that did not decode whole; None where not all of them were tried


def agree(seconds: float, said: float) -> bool:
    """Whether a file that lasts `seconds` is one that is said to last `said`."""
    return abs(seconds - said) <= _SLACK[0] + said * _SLACK[1]


def probe(
    file: IO[bytes] | Any, alive: Callable[[], object] = lambda: None, *, sound_only: bool = False, told: bool = False
) -> MediaFacts:
    """The facts of a video or audio file: of a video with its first and its last frame decoded, of a sound with all of
    it, which then says how long it lasts. Raises `NotMedia`. `alive` is called now and then. `sound_only`: whatever is
    to be seen is left alone. `told`: somebody else says how long it lasts, to whom the facts are held.

    A file that was cut after its index still opens; its last frame does not decode.
    """
    with room(alive) as claim:
        return _seen(file, claim, alive, sound_only=sound_only, told=told)


def _seen(
    file: IO[bytes] | Any, claim: Claim, alive: Callable[[], object], *, sound_only: bool, told: bool
) -> MediaFacts:
    with _opened(file, sound_only=sound_only) as (container, stream, facts):
        claim(large=_is_large(facts))
        if facts.width is not None:
            timed = _timed(container, stream, facts, alive)
            return _as_shown(timed, _ends(container, stream, timed))
        seconds = sound.heard(container, stream, alive)
        if sound.says_its_length(file, container, told=told):
            _reaches(seconds, facts.duration)
        return replace(facts, duration=seconds)


def probe_film(
    file: IO[bytes] | Any,
    *,
    moments: int = 0,
    show: Callable[[Any], Any] = lambda frame: frame,
    alive: Callable[[], object] = lambda: None,
) -> Film:
    """The same for a film, which must have a picture; with `moments` of it, evenly spread. Raises `NotMedia`.

    `alive` is called now and then: a long film takes a while.
    """
    with room(alive) as claim:
        return _shown(file, moments, show, claim, alive)


def _shown(
    file: IO[bytes] | Any, moments: int, show: Callable[[Any], Any], claim: Claim, alive: Callable[[], object]
) -> Film:
    with _opened(file) as (container, stream, said):
        claim(large=_is_large(said))
        if said.width is None:
            raise NotMedia("holds no picture")
        facts = _timed(container, stream, said, alive)
        shown: list[Any] = []
        seconds = facts.duration or 0.0
        times = [seconds * (number + 0.5) / moments for number in range(moments)]
        short = moments > 0 and seconds * (facts.fps or 25) <= _FEW_FRAMES
        keep: Callable[[Any], None] = lambda frame: shown.append(show(frame))  # noqa: E731 - a name for its type
        whole = frames.through(container, stream, times, keep, alive) if short else None
        if whole and whole.first is not None:
            return Film(_as_shown(facts, whole.first), whole.first, tuple(shown), whole.damaged)
        first = _ends(container, stream, facts)
        seen = _as_shown(facts, first)
        if moments and not short:
            with suppress(FFmpegError):
                frames.at_key_frames(container, stream, times, keep, alive)
                return Film(seen, first, tuple(shown))
        all_shown = tuple(shown) if whole and len(shown) == moments else ()
        return Film(seen, first, all_shown, whole.damaged if whole else None)


def _ends(container: Any, stream: Any, facts: MediaFacts) -> Any:
    """The first frame of a film whose last one is where it says that it ends."""
    first, seconds = frames.ends(container, stream)
    if seconds is not None and not _is_webm(container):  # of that, what lasts longest says how long
        _reaches(seconds, facts.duration)
    return first


def _reaches(seconds: float, said: float | None) -> None:
    if said is not None and seconds < said and not agree(seconds, said):
        raise NotMedia(f"ends after {seconds:.2f} s, and says that it lasts {said:.2f} s: it was cut")


def _has_all_fragments(file: IO[bytes] | Any, container: Any) -> None:
    """The library takes a film whose last fragments are missing for a shorter one. Leaves `file` where it was."""
    if not container.duration or "mp4" not in container.format.name:
        return
    at = file.tell()
    _reaches(container.duration / av.time_base, seconds_said(file))
    file.seek(at)


def _is_webm(container: Any) -> bool:
    return "webm" in container.format.name


def _timed(container: Any, stream: Any, facts: MediaFacts, alive: Callable[[], object]) -> MediaFacts:
    """The facts, with the length of a film that does not say it, as one that was written while it was made.

    Raises `NotMedia` of a WebM that was cut, which the library takes for a shorter one: its streams don't say how long
    they are, only its head says how long the longest is.
    """
    said = container.duration / av.time_base if container.duration and _is_webm(container) else None
    if said is None and facts.duration is not None:
        return facts
    ends = dict.fromkeys(container.streams, 0.0)
    for packet in container.demux():
        alive()
        if packet.pts is not None:
            until = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            ends[packet.stream] = max(ends[packet.stream], until)
    container.seek(0)
    if said is not None:
        _reaches(max(ends.values()), said)
        return facts
    start = float((stream.start_time or 0) * stream.time_base)
    return replace(facts, duration=round(ends[stream] - start, 3) or None)


@contextmanager
def _opened(file: IO[bytes] | Any, *, sound_only: bool = False) -> Iterator[tuple[Any, Any, MediaFacts]]:
    """The container, the stream that matters, and the facts."""
    try:
        with opened(file) as container:
            video = None if sound_only else _readable(one for one in container.streams.video if not _is_cover(one))
            audio = _readable(container.streams.audio)
            stream = video or audio
            if stream is None:
                raise NotMedia("holds neither picture nor sound")
            if video and not video.width:
                raise NotMedia(f"shows pictures of no size, or of more than {LARGEST_FILM} pixels")
            if video:
                video.codec_context.options = LIMITS
            _has_all_fragments(file, container)
            yield container, stream, _facts(container, video, audio)
    except FFmpegError as fault:
        raise NotMedia(f"does not decode ({fault.strerror})") from fault


def _is_large(facts: MediaFacts) -> bool:
    return (facts.width or 0) * (facts.height or 0) > SMALL_FILM


def _as_shown(facts: MediaFacts, first: Any) -> MediaFacts:
    """With the sides of the picture as it is shown, where there is one: an index may say anything."""
    if facts.width is None:
        return facts
    width, height = sides(first)
    return replace(facts, width=width, height=height)


def _readable(streams: Iterable[Any]) -> Any:
    """The first that there is a decoder for."""
    return next((stream for stream in streams if stream.codec_context is not None), None)


def _is_cover(stream: Any) -> bool:
    """Whether it is one picture that goes with a song."""
    return bool(stream.disposition & Disposition.attached_pic)


def _facts(container: Any, video: Any, audio: Any) -> MediaFacts:
    return MediaFacts(
        container=container.format.name,
        duration=_seconds(container, video or audio),
        width=video.width if video else None,
        height=video.height if video else None,
        fps=_rate(video.average_rate) if video else None,
        video_codec=_named(video),
        audio_codec=_named(audio),
    )


def _named(stream: Any) -> str | None:
    """What it is encoded as: a decoder may have another name."""
    name: str | None = stream.codec_context.codec.canonical_name if stream else None
    return name


def _seconds(container: Any, stream: Any) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return round(float(stream.duration * stream.time_base), 3)
    return round(container.duration / av.time_base, 3) if container.duration else None


def _rate(rate: Fraction | None) -> float | None:
    return round(float(rate), 3) if rate else None


def look_at_film(file: IO[bytes] | Any) -> MediaFacts:
    """The facts of a film from its index alone, no frame decoded. Raises `NotMedia`."""
    try:
        with _opened(file) as (_, _, facts):
            if facts.width is None:
                raise NotMedia("holds no picture")
            return facts
    except ValueError as fault:
        raise NotMedia("is no film") from fault
