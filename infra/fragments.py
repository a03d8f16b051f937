"""What the head of a film in fragments says of all of them. Each fragment is whole in itself, so only a word about the
rest tells that the last ones are missing.

Source: ISO/IEC 14496-12, 8.2.2 (mvhd), 8.8.1 (mvex), 8.8.2 (mehd).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

#: The head stands before its fragments, behind few other boxes.
_BOXES = 16


def seconds_said(file: IO[bytes] | Any) -> float | None:
    """How long the film lasts by its head; None where it is not in fragments, or says nothing. Moves in `file`."""
    begins = dict(_boxes(file, 0, None))
    if b"moov" not in begins:
        return None
    inside = dict(_boxes(file, *begins[b"moov"]))
    if b"mvex" not in inside or b"mvhd" not in inside:
        return None
    scale, said = _mvhd(file, inside[b"mvhd"][0])
    extends = dict(_boxes(file, *inside[b"mvex"]))
    if b"mehd" in extends:
        file.seek(extends[b"mehd"][0])
        said = max(said, _whole(file, 8 if file.read(4)[:1] == b"\1" else 4))
    return said / scale if said and scale else None


def _boxes(file: IO[bytes] | Any, at: int, end: int | None) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Name, and where the content begins and ends, of boxes one after another; frames end the search."""
    for _ in range(_BOXES):
        file.seek(at)
        head = file.read(8)
        size = int.from_bytes(head[:4], "big")
        if len(head) < 8 or size < 8 or head[4:] == b"mdat" or (end is not None and at + size > end):
            return
        yield head[4:], (at + 8, at + size)
        at += size


def _mvhd(file: IO[bytes] | Any, at: int) -> tuple[int, int]:
    """Units a second, and how many of them all lasts."""
    file.seek(at)
    wide = file.read(4)[:1] == b"\1"
    width = 8 if wide else 4
    file.seek(at + 4 + 2 * width)  # past when it was made and changed
    return _whole(file, 4), _whole(file, width)


def _whole(file: IO[bytes] | Any, width: int) -> int:
    """A number; nothing where it stands for "unknown"."""
    read = file.read(width)
    return 0 if read == b"\xff" * width else int.from_bytes(read, "big")
