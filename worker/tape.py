"""What is kept of a file that passed by: enough for its first and last frame, without fetching it back."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

#: Bytes kept of a file's beginning, where a film that streams well has its index and its first frame.
HEAD_BYTES = 2**20
#: Bytes kept of its end, where the last frame is with those that it builds on, and the index of other films.
TAIL_BYTES = 4 * 2**20


class Tape:
    """The beginning and the end of what passed, from byte `start` on."""

    def __init__(self, start: int = 0) -> None:
        self._head: list[tuple[int, bytes]] = []
        self._tail: deque[tuple[int, bytes]] = deque()
        self._at = start
        self._tail_bytes = 0

    def add(self, piece: bytes) -> None:
        """Take what comes next."""
        if self._at < HEAD_BYTES:
            self._head.append((self._at, piece))
        else:
            self._tail.append((self._at, piece))
            self._tail_bytes += len(piece)
            while self._tail_bytes - len(self._tail[0][1]) >= TAIL_BYTES:
                self._tail_bytes -= len(self._tail.popleft()[1])
        self._at += len(piece)

    def read(self, at: int, count: int) -> bytes:
        """At most `count` bytes from byte `at`; none where that byte was not kept."""
        pieces = self._head if self._head and at < self._head[-1][0] + len(self._head[-1][1]) else list(self._tail)
        number = bisect_right(pieces, at, key=lambda kept: kept[0]) - 1
        if number < 0:
            return b""
        start, piece = pieces[number]
        return piece[at - start : at - start + count]
