"""What was marked in a frame, as pictures and as the run lengths in which masks travel (those of COCO)."""

import base64
import io
import re
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from infra.emulator.sessions import Point

_RUN = re.compile(rb"\x00+|\xff+")


def mask(width: int, height: int, points: list[Point]) -> Image.Image:
    """White where something was marked: around each point, a tenth of the shorter side wide."""
    image = Image.new("L", (width, height))
    pen, reach = ImageDraw.Draw(image), min(width, height) // 20
    for x, y in points:
        left, top = x * width, y * height
        pen.ellipse((left - reach, top - reach, left + reach, top + reach), fill=255)
    return image


def painted(picture: Path, shown: Image.Image) -> Image.Image:
    """A picture, green where the mask is white."""
    with Image.open(picture) as plain:
        return Image.composite(Image.new("RGB", plain.size, "lime"), plain.convert("RGB"), shown)


def described(image: Image.Image) -> dict[str, Any]:
    """One entry of `rle_mask_list`."""
    size = [image.height, image.width]
    file = io.BytesIO()
    image.save(file, "PNG")
    return {
        "object_id": 0, "rle_mask": {"size": size, "counts": run_lengths(image)},
        "png_mask": {"size": size, "base64": base64.b64encode(file.getvalue()).decode()},
    }  # fmt: skip


def run_lengths(image: Image.Image) -> str:
    """COCO's compressed counts of a mask: column by column, beginning with black."""
    pixels = image.point(lambda value: 255 if value else 0).transpose(Image.Transpose.TRANSPOSE).tobytes()
    counts = [len(run) for run in _RUN.findall(pixels)]
    if pixels.startswith(b"\xff"):
        counts.insert(0, 0)
    return "".join(
        _packed(count - counts[place - 2] if place > 2 else count) for place, count in enumerate(counts)
    )  # fmt: skip


def _packed(number: int) -> str:
    """A number in groups of five bits, the sign in the last one, each as a printable character."""
    text = ""
    while True:
        group, number = number & 0x1F, number >> 5
        last = number == (-1 if group & 0x10 else 0)
        text += chr(48 + (group if last else group | 0x20))
        if last:
            return text
