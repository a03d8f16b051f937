"""What a picture is, and whether all of it is there: each of its frames too, where it moves."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from infra.boxes import NotMedia
from infra.media import MediaFacts
from infra.room import BYTES_A_PIXEL, LARGEST_PICTURE, SMALL_PICTURE, Claim, room
from infra.sniff import HEAD_BYTES, sniff

#: What Pillow raises of bytes that are no picture, or one too large to be honest; the last one of a frame that lacks.
_NO_PICTURE = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError, EOFError)
#: Pixels of the largest picture that is decoded, in whatever format. The provider's have 17 million at most.
_MOST_PIXELS = 40_000_000
#: Pixels of all frames that are decoded of a picture that moves: few bytes may stand for thousands of frames.
_MOST_MOVING = 10 * _MOST_PIXELS
#: How many pictures of its size one takes that moves: what is shown, what was, and what comes.
_MOVING = 3
#: Pillow's names of the pictures that are read, by content type: of all that it knows, some run other programs.
_PICTURES = {f"image/{name.lower()}": name for name in ("JPEG", "PNG", "GIF", "WEBP", "AVIF")}
#: What a GIF is made of: how its blocks begin, and its end. Source: GIF89a, 20 to 27.
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


def look_at_image(body: bytes) -> MediaFacts:
    """Format and sides of a picture, from its head and its check sums, without its pixels. Raises `NotMedia`."""
    try:
        with _picture(body) as image:
            facts = _facts(image)
            image.verify()
    except _NO_PICTURE as fault:
        raise NotMedia(f"is no picture ({type(fault).__name__})") from fault
    return facts


def probe_image(body: bytes, alive: Callable[[], object] = lambda: None) -> MediaFacts:
    """The facts of a picture, decoded whole. Raises `NotMedia`. `alive` is called while it waits for memory, and
    between the frames of one that moves.
    """
    with room(alive) as claim:
        return _decoded(body, claim, alive)


def _decoded(body: bytes, claim: Claim, alive: Callable[[], object]) -> MediaFacts:
    try:
        _ends(body)
        with _picture(body) as image:
            pixels, form = image.width * image.height, image.format or "?"
            moves = _MOVING if getattr(image, "is_animated", False) else 1
            needed = pixels * BYTES_A_PIXEL.get(form, BYTES_A_PIXEL["JPEG"]) * moves  # a JPEG goes by other names, too
            if pixels > _MOST_PIXELS or needed > LARGEST_PICTURE:
                raise NotMedia(f"has {image.width} x {image.height} pixels, more than are looked at in a {form}")
            claim(large=needed > SMALL_PICTURE)
            _decode(image, alive)
            return _facts(image)
    except _NO_PICTURE as fault:
        raise NotMedia(f"is no picture ({type(fault).__name__})") from fault


def _picture(body: bytes) -> Image.Image:
    """Opened, nothing decoded. Raises `NotMedia`, and what Pillow raises."""
    named = sniff(body[:HEAD_BYTES], "image")
    if named not in _PICTURES:
        raise NotMedia(f"does not begin as a picture of any format that is read: {', '.join(_PICTURES)}")
    return Image.open(BytesIO(body), formats=[_PICTURES[named]])


def _facts(image: Image.Image) -> MediaFacts:
    return MediaFacts(container=(image.format or "?").lower(), width=image.width, height=image.height)


def _decode(image: Image.Image, alive: Callable[[], object]) -> None:
    """All that it shows, or as much of it as is looked at."""
    image.load()
    for number in range(1, min(getattr(image, "n_frames", 1), _MOST_MOVING // (image.width * image.height))):
        alive()
        image.seek(number)
        image.load()


def _ends(body: bytes) -> None:
    """Pillow takes a PNG or a GIF of which the end is missing. Raises `NotMedia`, and what Pillow raises."""
    named, whole = sniff(body[:HEAD_BYTES], "image"), True
    if named == "image/png":
        with _picture(body) as image:
            image.verify()  # reads every chunk up to the last one, but for the check sum of that
        whole = len(body) >= body.rfind(b"IEND") + 8
    elif named == "image/gif":
        whole = _has_trailer(body)
    if not whole:
        raise NotMedia("has no end: it was cut")


def _has_trailer(body: bytes) -> bool:
    at = 13 + _table(body[10:11])
    while (kind := body[at : at + 1]) != bytes([_TRAILER]):
        if kind == bytes([_EXTENSION]):
            at += 2
        elif kind == bytes([_IMAGE]):
            at += 11 + _table(body[at + 9 : at + 10])
        else:
            return False
        while length := int.from_bytes(body[at : at + 1], "big"):
            at += 1 + length
        at += 1
    return True


def _table(flags: bytes) -> int:
    """Bytes of the table of colours that follows."""
    packed = int.from_bytes(flags, "big")
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0
