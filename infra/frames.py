"""The frames of a stream that somebody has to see: its first, its last, and moments between. Where only the ends are
asked for, few others are decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from av.error import FFmpegError

from infra.boxes import NotMedia
from infra.room import SMALL_FILM

#: Decoders that carry on where a frame that others refer to is missing.
_SKIPPING = frozenset({"h264", "hevc"})
#: Frames at the end that are decoded: the last one shown may be sent before the last one.
_LAST = 3
#: More packets than that after the jump to the last ones: the index is not to be relied on.
_FEW_PACKETS = 32
#: Pixels from which on a second thread pays, which a decoder of many frames gets unless they are so large that its
#: memory matters more.
_LARGE = 640 * 480


@dataclass(frozen=True)
class Through:
    """What was seen of a film from its beginning to its end."""

    first: Any  #: its first frame, if that and the last one decoded whole; what is wrong else, `ends` says
    damaged: int | None  #: frames that did not decode whole; None where nobody can say


def ends(container: Any, stream: Any) -> tuple[Any, float | None]:
    """The first frame, once the last one has decoded too, and the second that this one is shown until; None where it
    was seen to be the one that the index names last. Raises `NotMedia`.
    """
    codec = stream.codec_context
    if not codec.is_open:
        codec.thread_count = 1  # few frames are decoded: threads would cost more than they bring
    if codec.name in _SKIPPING and (first := _of_their_packets(container, stream)) is not None:
        return first, None
    first = next(container.decode(stream), None)
    if first is None:
        raise NotMedia("has no frame that decodes")
    _to_last_key(container, stream)
    last = deque(container.decode(stream), maxlen=1)
    if not last or last[0].is_corrupt:
        raise NotMedia("has no last frame that decodes")
    return first, _shown_until(last[0], stream)


def _shown_until(frame: Any, stream: Any) -> float | None:
    if frame.time is None:
        return None
    start = float((stream.start_time or 0) * stream.time_base)
    return float(frame.time - start + (1 / stream.average_rate if stream.average_rate else 0))


def through(
    container: Any,
    stream: Any,
    times: Sequence[float],
    show: Callable[[Any], None],
    alive: Callable[[], object],
) -> Through:
    """Every frame, in one pass that shows what is seen at `times`, in seconds. One that is broken on the way is
    counted: a player goes on, too.

    `alive` is called now and then: a film takes a while.
    """
    codec = stream.codec_context
    codec.thread_count = 2 if _LARGE < stream.width * stream.height <= SMALL_FILM else 1
    first: Any = None
    last: Any = None
    damaged: int | None = None
    wanted, start, shown = deque(times), stream.start_time or 0, set[int]()
    seen = _Sent()
    try:
        for frame in seen.frames(container, stream):
            alive()
            first, last = first or frame, frame
            if not frame.is_corrupt:
                shown.add(frame.pts)
            while wanted and (frame.pts - start) * stream.time_base >= wanted[0]:
                wanted.popleft()
                show(frame)
        begins = min([*seen.times[:1], *shown], default=0)
        damaged = sum(time not in shown for time in seen.times if time >= begins)
    except (FFmpegError, TypeError):  # what has no time can't be shown at one
        first = None
    if first is None or not {first.pts, *seen.times[:1]} <= shown or not _are_the_last(seen.last, stream, shown):
        with suppress(FFmpegError):
            container.seek(start, stream=stream)
        return Through(None, damaged)
    for _ in wanted:  # a film of few frames, or one that says it lasts longer than it does
        show(last)
    return Through(first, damaged)


def at_key_frames(
    container: Any, stream: Any, times: Sequence[float], show: Callable[[Any], None], alive: Callable[[], object]
) -> None:
    """Show the key frame before each of `times`, in seconds. Raises `FFmpegError`."""
    stream.codec_context.skip_frame = "NONKEY"
    for time in times:
        alive()
        container.seek(int(time / stream.time_base) + (stream.start_time or 0), stream=stream)
        if (frame := next(container.decode(stream), None)) is not None:
            show(frame)


class _Sent:
    """What a decoder was given."""

    def __init__(self) -> None:
        self.times: list[int] = []  #: at which its packets are to be shown, but for those that nobody is to see
        self.last = deque[Any](maxlen=_LAST + 1)  #: the last packets, and an empty one

    def frames(self, container: Any, stream: Any) -> Iterator[Any]:
        """What it makes of all packets of a stream."""
        for packet in container.demux(stream):
            self.last.append(packet)
            if packet.size and packet.pts is not None and not packet.is_discard:
                self.times.append(packet.pts)
            with suppress(FFmpegError):  # no frame comes of it then
                yield from stream.codec_context.decode(packet)


def _of_their_packets(container: Any, stream: Any) -> Any:
    """The first frame, once the last ones have decoded with nothing before them but the key frame that they stand on.

    The hundreds between are not even read. None leaves the judgement to a decoder of all, and stands at the beginning.
    """
    start = stream.start_time or 0
    head = _next(container, stream)
    try:
        found = _decoded_ends(container, stream, head) if head and stream.duration and stream.average_rate else None
    except FFmpegError:
        found = None
    if found is None:
        container.seek(start, stream=stream)
    return found


def _decoded_ends(container: Any, stream: Any, head: Any) -> Any:
    codec = stream.codec_context
    _to_last_key(container, stream)
    key = _next(container, stream)
    end = (stream.start_time or 0) + stream.duration
    container.seek(int(end - _LAST / (stream.average_rate * stream.time_base)), stream=stream, any_frame=True)
    tail = [key] if key else []
    for packet in container.demux(stream):
        tail = [packet] if packet.is_keyframe else [*tail, packet]
        if len(tail) > _FEW_PACKETS:
            return None
    key, *after = tail
    if not (head.is_keyframe and key.is_keyframe):
        return None
    sent = [packet for packet in after if packet.size]
    if all(one.pts < other.pts for one, other in pairwise(sent)):  # shown in the order in which they come
        tail = [key, *sent[-1:], *(packet for packet in after if not packet.size)]
    frames = {frame.pts: frame for packet in tail for frame in codec.decode(packet)}
    if not _are_the_last(tail, stream, frames):
        return None
    if head.pts == key.pts:
        return frames[head.pts]
    codec.flush_buffers()
    return next((frame for packet in (head, None) for frame in codec.decode(packet) if frame.pts == head.pts), None)


def _are_the_last(packets: Iterable[Any], stream: Any, shown: Container[Any]) -> bool:
    """Whether `packets` are whole, lead to the end that the index names, and were all shown."""
    sent = [packet for packet in packets if packet.size]
    end = (stream.start_time or 0) + (stream.duration or 0)
    slack = 2 / (stream.average_rate * stream.time_base) if stream.average_rate else 0
    return (
        all(packet.pts in shown and not packet.is_corrupt for packet in sent)
        and max((packet.pts + (packet.duration or 0) for packet in sent), default=-1) >= end - slack
    )


def _next(container: Any, stream: Any) -> Any:
    return next((packet for packet in container.demux(stream) if packet.size), None)


def _to_last_key(container: Any, stream: Any) -> None:
    if stream.duration:
        container.seek((stream.start_time or 0) + stream.duration, stream=stream)
