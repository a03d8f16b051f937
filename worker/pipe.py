"""A source read ahead: one thread fetches and hashes a file while others send it.

A few pieces lie between them, whichever side is the slower one, so memory holds those and no more. The state of the
source is only right for the byte that the reading thread is at; what is known at the end of each part travels with the
bytes, behind the part's last one. So does how long the next part is, which depends on how fast this one came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from time import monotonic
from typing import Any, Self

from infra.http import HttpError
from worker.source import NotHad, Source
from worker.spool import DiskFault, Spool
from worker.tape import Pieces

#: Pieces that may lie between the two sides; each is at most as long as what one read of the connection gives.
PIECES = 8


#: Bytes of the part that follows one of so many bytes (first) which took so many seconds (second).
Next = Callable[[int, float], int]


class Stopped(Exception):
    """The pipe was closed before its end, or cut."""


@dataclass(frozen=True)
class Mark:
    """What is known of a file at the end of one of its parts."""

    size: int  #: bytes up to there
    crc32: int
    walk: Mapping[str, Any] | None
    digest: Any  #: the SHA-256's state; None where its beginning is not known
    full: bool  #: whether the part ends there; False where the pipe was cut within it
    last: bool  #: whether the file ends there
    next: int  #: bytes of the part that follows, where one does and its file is long enough


def marked(source: Source, *, full: bool = True, following: int = 0) -> Mark:
    """What is known of a source at the byte that it is at."""
    walk, digest = source.boxes.state() if source.boxes else None, source.digest and source.digest.copy()
    return Mark(source.size, source.crc32, walk, digest, full, full and source.ended, following)


class Pipe:
    """A source in parts, the first one of `first` bytes, of which `before` have come already. Of the file `known` bytes
    are nothing new. Leaving the context ends the reading, wherever it is.
    """

    def __init__(
        self, source: Source, first: int, following: Next, before: Sequence[bytes] = (), known: int = 0
    ) -> None:
        self._source = source
        self._first = first
        self._following = following
        self._before = before
        self._known = known
        self._come = sum(map(len, before))
        self._at = source.size - self._come  #: where the next part begins for who sends; the source is ahead of that
        self._queue: Queue[bytes | Mark | Exception] = Queue(PIECES)
        self._stopped = threading.Event()
        self._cut = threading.Event()
        self._ended = threading.Event()  #: by us
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

    def part(self, most: int, kept: Pieces | Spool | None = None) -> Part:
        """The next part, of `most` bytes as `first` or the mark of the one before said, which must be drained. `kept`:
        where what came of it stays until it is whole.
        """
        length = self._source.part_length(most, self._at)
        self._at += length
        return Part(self._queue, length, kept)

    def cut(self) -> None:
        """Read no more than what is under way: the part then ends early, by its mark. A source that has brought
        something new, and says nothing more, is stopped, unless its end would be taken for the file's.
        """
        self._cut.set()
        if self._source.length is not None and self._source.size > self._known:
            self._ended.set()
            self._source.stop()

    def _run(self) -> None:
        with suppress(Stopped):
            try:
                self._read()
            except Exception as fault:  # noqa: BLE001 - whatever it is, the side that sends has to hear of it
                self._put(fault)

    def _read(self) -> None:
        for piece in self._before:
            self._put(piece)
        mark, length = None, self._first - self._come
        while mark is None or (mark.full and not mark.last):
            began, start = monotonic(), self._source.size
            full = self._fill(length)
            length = self._following(self._source.size - start, monotonic() - began)
            mark = marked(self._source, full=full, following=length)
            self._put(mark)

    def _fill(self, length: int) -> bool:
        """Whether all of a part came: it was not cut."""
        left = self._source.part_length(length, self._source.size)
        while left:
            if self._cut.is_set() and self._source.size > self._known:
                return False
            try:
                piece = self._source.next(left)
            except (HttpError, NotHad):
                if self._ended.is_set():
                    return False
                raise
            if not piece:
                break
            self._put(piece)
            left -= len(piece)
        return True

    def _put(self, item: bytes | Mark | Exception) -> None:
        if self._stopped.is_set():
            raise Stopped
        self._queue.put(item)


class Part:
    """One part as a body to be sent. `drained` is set when its last byte was handed out, and then `mark` is there."""

    def __init__(self, queue: Queue[bytes | Mark | Exception], length: int, kept: Pieces | Spool | None) -> None:
        self.length = length  #: bytes at most; exactly where the source said its length
        self.mark: Mark | None = None
        self.drained = threading.Event()
        self.kept = kept  #: has what was handed out, if that is kept, and not once it is whole
        self.come = 0  #: bytes handed out
        self._keeps = kept
        self._queue = queue

    def read(self, _size: int = -1, /) -> bytes:
        """What came, however much was asked for: HTTP clients ask for 16 KiB, and that often would cost more than
        the hashing. Raises `Stopped` where it was cut, so that nobody takes what came for a part.
        """
        if self.mark:
            return b""
        piece = self._take()
        if isinstance(piece, Mark):
            self._end(piece)
            return b""
        self.come += len(piece)
        if self._keeps:
            try:
                self._keeps.add(piece)
            except DiskFault:  # what was kept before is good; no more of it is
                self._keeps = None
        if self.come == self.length:  # a client that knows the length does not ask again
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
        if mark.full:
            self.kept = self._keeps = None
        self.drained.set()
        if not mark.full:
            raise Stopped
