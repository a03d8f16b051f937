"""What a person looks at instead of the film: a poster, and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import IO, Any

import av
from av.error import FFmpegError
from PIL import Image

from infra.media import MediaFacts, NotMedia

#: Longest side of a poster in pixels.
POSTER_SIDE = 960
#: Longest side of one picture of a contact sheet, and how many stand beside and below each other.
TILE_SIDE, TILES = 320, 3
#: A film of more frames is not decoded whole: of such a one the key frames do, which are many.
_FEW_FRAMES = 750
_GAP = 4


def poster(frame: Any) -> bytes:
    """A frame as JPEG, at most `POSTER_SIDE` pixels on its longest side."""
    image = frame.to_image()
    image.thumbnail((POSTER_SIDE, POSTER_SIDE))
    return _jpeg(image)


def contact_sheet(file: IO[bytes] | Any, facts: MediaFacts, alive: Callable[[], object] = lambda: None) -> bytes:
    """Nine moments of a film, evenly spread and in order, as one JPEG. Raises `NotMedia`.

    `alive` is called now and then: a long film takes a while.
    """
    tiles = []
    try:
        with av.open(file, "r", metadata_errors="ignore") as container:
            if not container.streams.video:
                raise NotMedia("gives no contact sheet")
            for frame in _moments(container, facts, alive):
                shrink = TILE_SIDE / max(frame.width, frame.height, TILE_SIDE)
                width, height = max(round(frame.width * shrink), 1), max(round(frame.height * shrink), 1)
                tiles.append(frame.reformat(width=width, height=height, format="rgb24").to_image())
    except FFmpegError as fault:
        raise NotMedia(f"gives no contact sheet ({fault.strerror})") from fault
    if not tiles:
        raise NotMedia("gives no contact sheet")
    return _jpeg(_laid_out(tiles))


def _moments(container: Any, facts: MediaFacts, alive: Callable[[], object]) -> Iterator[Any]:
    """The frames shown at the middle of each ninth of the film."""
    stream = container.streams.video[0]
    seconds = facts.duration or 0.0
    times = [seconds * (number + 0.5) / TILES**2 for number in range(TILES**2)]
    if seconds * (facts.fps or 25) > _FEW_FRAMES:
        yield from _key_frames(container, stream, times, alive)
        return
    stream.codec_context.skip_frame = "NONREF"  # the frames between cost a third of the time
    last = None
    for frame in container.decode(stream):
        alive()
        last = frame
        while times and frame.time is not None and frame.time >= times[0]:
            times.pop(0)
            yield frame
    if last is not None:
        yield from [last] * len(times)  # a film of few frames, or one that says it lasts longer than it does


def _key_frames(container: Any, stream: Any, times: list[float], alive: Callable[[], object]) -> Iterator[Any]:
    stream.codec_context.skip_frame = "NONKEY"
    for time in times:
        alive()
        container.seek(int(time / stream.time_base) + (stream.start_time or 0), stream=stream)
        if (frame := next(container.decode(stream), None)) is not None:
            yield frame


def _laid_out(tiles: list[Image.Image]) -> Image.Image:
    width, height = tiles[0].size
    sheet = Image.new("RGB", (TILES * (width + _GAP) - _GAP, TILES * (height + _GAP) - _GAP))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, TILES)
        sheet.paste(tile, (column * (width + _GAP), row * (height + _GAP)))
    return sheet


def _jpeg(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=82)
    return out.getvalue()
