"""What a person looks at instead of the film: a poster, and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from PIL import Image

from infra.boxes import NotMedia
from infra.upright import turns

#: Longest side of a poster in pixels.
POSTER_SIDE = 960
#: Longest side of one picture of a contact sheet, and how many stand beside and below each other.
TILE_SIDE, TILES = 320, 3
_GAP = 4
#: By quarter turns to the left.
_TURNED = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}


def poster(frame: Any) -> bytes:
    """A frame as JPEG, at most `POSTER_SIDE` pixels on its longest side."""
    return _jpeg(_small(frame, POSTER_SIDE))


def tile(frame: Any) -> Image.Image:
    """A frame as one picture of a contact sheet."""
    return _small(frame, TILE_SIDE)


def contact_sheet(tiles: Sequence[Image.Image | None]) -> bytes:
    """Nine moments of a film, evenly spread and in order, as one JPEG. Raises `NotMedia`, also where one is missing."""
    whole = [one for one in tiles if one is not None]
    if not whole or len(whole) < len(tiles):
        raise NotMedia("gives no contact sheet")
    width, height = whole[0].size
    sheet = Image.new("RGB", (TILES * (width + _GAP) - _GAP, TILES * (height + _GAP) - _GAP))
    for number, one in enumerate(whole):
        row, column = divmod(number, TILES)
        sheet.paste(one, (column * (width + _GAP), row * (height + _GAP)))
    return _jpeg(sheet)


def prepare() -> None:
    """Load what the first picture of a process would."""
    Image.preinit()


def _small(frame: Any, side: int) -> Image.Image:
    shrink = side / max(frame.width, frame.height, side)
    width, height = max(round(frame.width * shrink), 1), max(round(frame.height * shrink), 1)
    image: Image.Image = frame.reformat(width=width, height=height, format="rgb24").to_image()
    return image.transpose(_TURNED[quarters]) if (quarters := turns(frame)) else image


def _jpeg(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=82)
    return out.getvalue()
