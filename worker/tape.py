"""Bytes of a file that stay in memory after they were handed on to the bucket.

All of a file up to `HELD_BYTES`; of a larger one its beginning and its end, enough to decode its first and last frame
without reading them back out of the bucket.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from io import SEEK_END, SEEK_SET

from worker.blocks import Blocks

#: Bytes of the largest file that is kept whole in memory: it is held before it leaves, so that its metadata can carry
#: its SHA-256. A part of a file whose length nobody said is held, too, because a part must say its own.
HELD_BYTES = 8 * 2**20
#: Bytes kept of a larger file's beginning, where a film that streams well has its index and its first frame.
HEAD_BYTES = 2**20
#: Bytes kept of its end, where the last frame is with those that it builds on, and the index of other films.
TAIL_BYTES = 4 * 2**20


#: This process's.
BLOCKS = Blocks()
#: Bytes of what is held that are handed to a connection at a time: each time costs, and has a time limit of its own.
_HANDED_BYTES = 2**20


class Tape:
    """Keeps pieces of one file, which are added in order from byte `start` on.

    With `held`, the length of the file in bytes, all of them are kept, in one block of memory. Otherwise the first
    `HEAD_BYTES` and the last `TAIL_BYTES` are.
    """

    def __init__(self, start: int = 0, *, held: int | None = None) -> None:
        self.whole = held is not None
        self._all = memoryview(b"") if held is None else BLOCKS.take(held)
        self._head: list[tuple[int, bytes]] = []
        self._tail: deque[tuple[int, bytes]] = deque()
        self._at = start
        self._tail_bytes = 0

    def body(self, start: int = 0, end: int | None = None) -> Held:
        """Bytes `start` to `end` (the newest one unless said) as a body to send. Only where all of the file is kept."""
        passed = self._all[start : self._at if end is None else end]
        return Held([passed[at : at + _HANDED_BYTES] for at in range(0, len(passed), _HANDED_BYTES)])

    def add(self, piece: bytes) -> None:
        """Take what comes next."""
        if self.whole:
            self._all[self._at : self._at + len(piece)] = piece
        elif self._at < HEAD_BYTES:
            self._head.append((self._at, piece))
        else:
            self._tail.append((self._at, piece))
            self._tail_bytes += len(piece)
            while self._tail_bytes - len(self._tail[0][1]) >= TAIL_BYTES:
                self._tail_bytes -= len(self._tail.popleft()[1])
        self._at += len(piece)

    def read(self, at: int, count: int) -> bytes:
        """At most `count` bytes from byte `at`; none where that byte was not kept."""
        if self.whole:
            return bytes(self._all[at : min(at + count, self._at)])
        pieces = self._head if self._head and at < self._head[-1][0] + len(self._head[-1][1]) else list(self._tail)
        number = bisect_right(pieces, at, key=lambda kept: kept[0]) - 1
        if number < 0:
            return b""
        start, piece = pieces[number]
        return piece[at - start : at - start + count]


class Pieces:
    """Keeps what comes, without copying it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        """Take what comes next."""
        self._pieces.append(piece)

    def body(self) -> Held:
        """All of it as a body to send."""
        return Held(self._pieces)


class Held:
    """Pieces as a body that can be sent again from its beginning."""

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._pieces = pieces
        self._next = 0

    def read(self, _size: int = -1, /) -> bytes | memoryview:
        """The next piece, however much was asked for: HTTP clients ask for 16 KiB, which would cost more."""
        self._next += 1
        return self._pieces[self._next - 1] if self._next <= len(self._pieces) else b""

    def seek(self, at: int, whence: int = SEEK_SET, /) -> int:
        """Go to the beginning, or to the end, where its length is looked for. Raises `OSError` for any other place."""
        if at or whence not in {SEEK_SET, SEEK_END}:
            raise OSError("only the beginning and the end can be gone to")
        self._next = len(self._pieces) if whence == SEEK_END else 0
        return self.tell()

    def tell(self) -> int:
        """Where the next read begins, in bytes."""
        return sum(map(len, self._pieces[: self._next]))
