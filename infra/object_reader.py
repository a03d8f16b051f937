"""An object of a store as a file."""

from __future__ import annotations

from collections.abc import Callable
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase

_BLOCK_BYTES = 2**20


class ObjectReader(RawIOBase):
    """An object as a seekable read-only file: what a demuxer needs, in blocks of 1 MiB, the last few kept.

    It ends where bytes could not be had. A demuxer that is told so reads on, and would wait for the store again,
    block after block; of what it meets then, PyAV prints a traceback and raises none but the last.
    """

    _KEPT = 4

    def __init__(self, read: Callable[[int, int], bytes], size: int, kept: Callable[[int, int], bytes]) -> None:
        self._fetch = read
        self._at_hand = kept
        self._size = size
        self._at = 0
        self._is_broken = False
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move, as a file does."""
        self._at = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._size}[whence] + offset
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes; fewer than `size` at a block's end, none at the object's, or after a fault."""
        wanted = self._size - self._at if size is None or size < 0 else min(size, self._size - self._at)
        taken = bytearray()
        while len(taken) < wanted and not self._is_broken:
            self._is_broken = True  # unless the next piece comes
            piece = self._at_hand(self._at, wanted - len(taken)) or self._fetched(wanted - len(taken))
            self._is_broken = False
            if not piece:
                break
            taken += piece
            self._at += len(piece)
        return bytes(taken)

    def _fetched(self, count: int) -> bytes:
        number, offset = divmod(self._at, _BLOCK_BYTES)
        return self._block(number)[offset : offset + count]

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            while len(self._blocks) >= self._KEPT:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[number] = self._fetch(number * _BLOCK_BYTES, _BLOCK_BYTES)
        return self._blocks[number]
