"""How many pieces the index of an MP4 names, told before a library makes room for them.

A few bytes can name four billion. Source: ISO/IEC 14496-12, 8.6.1 (stts, ctts), 8.6.6 (elst), 8.7.3 (stsz, stz2),
8.7.4 (stsc), 8.7.5 (stco, co64), 8.8.8 (trun).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import SEEK_END
from typing import IO, Any

from infra.boxes import NotMedia

#: Pieces of all tracks together: each takes the library some 40 bytes. An hour of film with its sound has 400 000.
MOST_SAMPLES = 1_000_000
#: Boxes that are looked at: a film in fragments has some ten for each.
_MOST_BOXES = 200_000
_DEEPEST = 12
#: Boxes of boxes. The library takes any of them, and any table, wherever they are.
_OUTER = frozenset(
    {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"edts", b"udta", b"mvex", b"moof", b"traf", b"mfra"}
)
#: Bytes of one entry in tables that name each.
_WIDTHS = {b"stco": 4, b"co64": 8, b"stsc": 12, b"stts": 8, b"ctts": 8, b"stss": 4, b"elst": 12}
_KNOWN = frozenset({b"hdlr", b"stsz", b"stz2", b"trun", *_WIDTHS})
_PIECE = 2**16


@dataclass
class _Track:
    """What the tables of one track, or of one fragment of it, say."""

    samples: int = 0
    chunks: int = 0
    edits: int = 1
    kinds: set[bytes] = field(default_factory=set)  #: by its handlers
    runs: set[tuple[int, ...]] = field(default_factory=set)  #: how long so many samples last each
    sizes_vary: bool = False
    in_chunks: list[tuple[int, int]] = field(default_factory=list)  #: number of the first such chunk, samples of each

    @property
    def unpacked(self) -> bool:
        """Whether it is plain sound, of which the library names a thousand samples at once."""
        one_unit = len(self.runs) == 1 and all(each == 1 for _, each in self.runs)
        return b"soun" in self.kinds and b"vide" not in self.kinds and one_unit and not self.sizes_vary


def check_tables(file: IO[bytes] | Any) -> None:
    """Raises `NotMedia` where an index names more pieces than there is room for. Leaves `file` at its beginning."""
    size = file.seek(0, SEEK_END)
    total, track = 0, _Track()
    for name, at, end in _boxes(file, 0, size):
        if name == b"cmov":
            raise NotMedia("has a packed index, which is not read")
        if name in {b"trak", b"moof"}:
            total, track = total + _weight(track, size), _Track()
        if name in _KNOWN:
            _read(file, name, at, end, track)
    if total + _weight(track, size) > MOST_SAMPLES:
        raise _too_many()
    file.seek(0)


def _too_many() -> NotMedia:
    return NotMedia(f"has an index of more samples than are read ({MOST_SAMPLES}), or than it has bytes")


def _weight(track: _Track, size: int) -> int:
    """Pieces that the library makes room for."""
    ends = [first for first, _ in track.in_chunks[1:]] + [track.chunks + 1]
    named = sum(max(end - first, 0) * each for (first, each), end in zip(track.in_chunks, ends, strict=False))
    samples = max(track.samples, named)
    if samples > size:
        raise _too_many()
    weight = (samples // 1000 if track.unpacked else samples) * track.edits + track.chunks
    if weight > MOST_SAMPLES:
        raise _too_many()
    return weight


def _boxes(file: IO[bytes] | Any, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name of each box at any depth, and where its content begins and ends."""
    ends, looked = [end], 0
    while ends:
        if at + 8 > ends[-1]:
            at = ends.pop()
            continue
        file.seek(at)
        head = file.read(16)
        length, name, begins = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if length == 1:
            length, begins = int.from_bytes(head[8:16], "big"), at + 16
        after = ends[-1] if length == 0 else min(at + length, ends[-1])
        if len(head) < 8 or after < begins:  # no box: the library goes on behind what this is in
            at = ends.pop()
            continue
        looked += 1
        if looked > _MOST_BOXES:
            raise NotMedia(f"has more boxes than are looked at ({_MOST_BOXES})")
        yield name, begins, after
        if name in _OUTER:
            if len(ends) == _DEEPEST:
                raise NotMedia("has boxes too deep in each other")
            ends.append(after)
        at = begins if name in _OUTER else after


def _read(file: IO[bytes] | Any, name: bytes, at: int, end: int, track: _Track) -> None:
    file.seek(at)
    head = file.read(12)
    first, second = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
    if name == b"hdlr":
        track.kinds.add(head[8:12])
    elif name in {b"stsz", b"stz2"}:
        bits = first & 0xFF if name == b"stz2" else 0 if first else 32
        _fits(second * bits, (end - at - 12) * 8)
        track.sizes_vary |= bits > 0
        track.samples = max(track.samples, second)
    elif name == b"trun":
        track.sizes_vary = True
        track.samples += first
    elif name in _WIDTHS:
        _fits(first * _WIDTHS[name], end - at - 8)
        _read_table(file, name, at + 8, first, track)


def _read_table(file: IO[bytes] | Any, name: bytes, at: int, count: int, track: _Track) -> None:
    if name in {b"stco", b"co64"}:
        track.chunks = max(track.chunks, count)
    elif name == b"elst":
        track.edits = max(track.edits, count)
    elif name == b"stsc":
        track.in_chunks = [(first, each) for first, each, _ in _entries(file, at, count, ">3I")]
    elif name in {b"stts", b"ctts"}:
        runs = list(_entries(file, at, count, ">2I"))
        track.runs |= set(runs[:2]) if name == b"stts" else set()
        track.samples = max(track.samples, sum(number for number, _ in runs))


def _fits(needed: int, room: int) -> None:
    if needed > room:
        raise NotMedia("has an index with a table that is shorter than it says")


def _entries(file: IO[bytes] | Any, at: int, count: int, form: str) -> Iterator[tuple[int, ...]]:
    if count > MOST_SAMPLES:
        raise _too_many()
    width = struct.calcsize(form)
    file.seek(at)
    while count > 0:
        some = min(count, _PIECE // width)
        yield from struct.iter_unpack(form, file.read(some * width))
        count -= some
