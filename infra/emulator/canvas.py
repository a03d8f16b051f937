"""Draws what results show: a background, and the request written on it."""

import colorsys
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

#: Fonts that know more than Latin, as Linux and macOS name them; Pillow's own Latin font is always there.
_WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "wqy-zenhei.ttc", "wqy-microhei.ttc", "PingFang.ttc",
    "Hiragino Sans GB.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf",
)  # fmt: skip
_LATIN = 0x250
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Sheet:
    """One still: what makes two of them equal is here."""

    width: int
    height: int
    title: str
    text: str
    #: A picture to stand behind the text.
    behind: Path | None = None
    mark: str = ""


def draw(sheet: Sheet) -> Image.Image:
    """The sheet as an RGB image."""
    image = _background(sheet)
    pen = ImageDraw.Draw(image, "RGBA")
    size = max(14, min(sheet.width, sheet.height) // 24)
    margin = size
    title = font(size * 3 // 4, sheet.title)
    body = font(size, sheet.text)
    room = (sheet.height - 6 * size) // (size * 3 // 2)
    lines = wrap(sheet.text, body, sheet.width - 4 * margin)[: max(1, room)]
    bottom = margin * 3 + len(lines) * size * 3 // 2
    pen.rounded_rectangle((margin, margin, sheet.width - margin, bottom), size // 2, fill=(8, 10, 16, 150))
    pen.text((2 * margin, margin * 3 // 2), sheet.title, (255, 220, 130), title)
    for row, line in enumerate(lines):
        pen.text((2 * margin, margin * 5 // 2 + row * size * 3 // 2), line, (255, 255, 255), body)
    if sheet.mark:
        marked = font(size * 2, sheet.mark)
        where = (sheet.width - marked.getlength(sheet.mark) - 2 * margin, sheet.height - 4 * size)
        pen.text(where, sheet.mark, (255, 255, 255, 170), marked)
    return image


def _background(sheet: Sheet) -> Image.Image:
    size = (sheet.width, sheet.height)
    if sheet.behind:
        with Image.open(sheet.behind) as picture:
            return ImageOps.fit(picture.convert("RGB"), size)
    hue = zlib.crc32(f"{sheet.title}{sheet.text}".encode()) % 360 / 360
    dark, light = (_rgb(hue + shift, 0.6, value) for shift, value in ((0.0, 0.22), (0.12, 0.7)))
    return ImageOps.colorize(Image.linear_gradient("L").resize(size), dark, light)


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return int(red * 255), int(green * 255), int(blue * 255)


@lru_cache(maxsize=64)
def _wide_font(size: int) -> Font | None:
    for name in _WIDE_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None


@lru_cache(maxsize=64)
def _latin_font(size: int) -> Font:
    return ImageFont.load_default(size)


def font(size: int, text: str) -> Font:
    """A font of `size` pixels for `text`; where none knows its script, boxes stand for the letters."""
    wide = any(ord(letter) >= _LATIN for letter in text)
    return (_wide_font(size) if wide else None) or _latin_font(size)


def wrap(text: str, face: Font, width: float) -> list[str]:
    """`text` in lines of at most `width` pixels, broken at spaces, or inside a word that is wider than a line."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if face.getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines += _pieces(word, face, width)
    return [line for line in lines if line]


def _pieces(word: str, face: Font, width: float) -> list[str]:
    pieces = [""]
    for letter in word:
        if pieces[-1] and face.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces
