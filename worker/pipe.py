"""A source read ahead: one thread fetches and hashes a file while others send it.

A few pieces lie between them, whichever side is the slower one, so memory holds those and no more. The state of the
source is only right for the byte that the reading thread is at; what is known at the end of each part travels with the
bytes, behind the part's last one.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any, Self

from worker.source import Source

#: Pieces that may lie between the two sides; each is at most as long as what one read of the connection gives.
PIECES = 8


class Stopped(Exception):
    """The pipe was closed before its end."""


@dataclass(frozen=True)
class Mark:
    """What is known of a file at the end of one of its parts."""

    size: int  #: bytes up to there
    crc32: int
    walk: Mapping[str, Any] | None
    digest: Any  #: the SHA-256's state; None where its beginning is not known
    last: bool  #: whether the file ends there


class Pipe:
    """A source in parts of `part_bytes`. Leaving the context ends the reading, wherever it is."""

    def __init__(self, source: Source, part_bytes: int) -> None:
        self._source = source
        self._part_bytes = part_bytes
        self._at = source.size  #: where the next part begins for who sends; the source itself is ahead of that
        self._queue: Queue[bytes | Mark | Exception] = Queue(PIECES)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._source.stop()
        # Room for what the reading side may be about to put, and then a word for whoever waits on the other one.
        try:
            while True:
                self._queue.get_nowait()
        except Empty:
            self._queue.put(Stopped())
        self._thread.join()

    def part(self) -> Part:
        """The next part. To be asked for once the one before is drained."""
        length = self._source.part_length(self._part_bytes, self._at)
        self._at += length
        return Part(self._queue, length)

    def _run(self) -> None:
        with suppress(Stopped):
            try:
                self._read()
            except Exception as fault:  # noqa: BLE001 - whatever it is, the side that sends has to hear of it
                self._put(fault)

    def _read(self) -> None:
        last = False
        while not last:
            self._fill()
            mark = self._mark()
            self._put(mark)
            last = mark.last

    def _fill(self) -> None:
        left = self._source.part_length(self._part_bytes, self._source.size)
        while left and (piece := self._source.next(left)):
            self._put(piece)
            left -= len(piece)

    def _mark(self) -> Mark:
        source = self._source
        walk = source.boxes.state() if source.boxes else None
        return Mark(source.size, source.crc32, walk, source.digest and source.digest.copy(), source.ended)

    def _put(self, item: bytes | Mark | Exception) -> None:
        if self._stopped.is_set():
            raise Stopped
        self._queue.put(item)


class Part:
    """One part as a body to be sent. `drained` is set when its last byte was handed out, and then `mark` is there."""

    def __init__(self, queue: Queue[bytes | Mark | Exception], length: int) -> None:
        self.length = length  #: bytes at most; exactly where the source said its length
        self.mark: Mark | None = None
        self.drained = threading.Event()
        self._queue = queue
        self._left = length

    def read(self, _size: int = -1, /) -> bytes:
        """What came, however much was asked for: HTTP clients ask for 16 KiB, and that often would cost more than
        the hashing.
        """
        if self.mark:
            return b""
        piece = self._take()
        if isinstance(piece, Mark):
            self._end(piece)
            return b""
        self._left -= len(piece)
        if not self._left:  # a client that knows the length does not ask again
            mark = self._take()
            assert isinstance(mark, Mark)
            self._end(mark)
        return piece

    def _take(self) -> bytes | Mark:
        item = self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    def _end(self, mark: Mark) -> None:
        self.mark = mark
        self.drained.set()
