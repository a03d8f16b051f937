"""A file of `tape.HELD_BYTES` to `SPOOLED_BYTES`, stored whole on this machine's disk before it is sent to the bucket.

So its SHA-256 is known before its first byte is sent, and it takes no memory. The file on disk has no name: the system
removes it with the process, however that ends.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_CUR, SEEK_END, SEEK_SET
from tempfile import TemporaryFile

from infra.log import logger

log = logger(__name__)

#: Bytes of the largest file that is laid down, which is the largest that leaves in one piece: most results.
SPOOLED_BYTES = 64 * 2**20
#: Bytes handed to a connection at a time.
_HANDED_BYTES = 2**18


class DiskFault(Exception):
    """The disk failed, or had no room left after all. That says nothing against the file."""


class Spool:
    """All bytes of one file on disk; to be used like a `Tape`, which has those of a smaller file in memory."""

    whole = True

    def __init__(self, size: int) -> None:
        """Room for `size` bytes. Raises `OSError` where there is none."""
        file = TemporaryFile(buffering=0)  # noqa: SIM115 - closed when nobody holds this any more
        weakref.finalize(self, file.close)
        self._file = file.fileno()
        self._at = 0
        if sys.platform != "darwin":
            os.posix_fallocate(self._file, 0, size)

    def body(self, start: int = 0, end: int | None = None) -> Spooled:
        """What has passed from byte `start` to `end`, or to here, as it is sent."""
        return Spooled(self, start, self._at if end is None else end)

    def add(self, piece: bytes) -> None:
        """Take what comes next. Raises `DiskFault`."""
        left = memoryview(piece)
        with _disk():
            while left:
                count = os.pwrite(self._file, left, self._at)
                self._at += count
                left = left[count:]

    def read(self, at: int, count: int) -> bytes:
        """At most `count` bytes from byte `at`; none at its end. Raises `DiskFault`."""
        with _disk():
            return os.pread(self._file, max(min(count, self._at - at), 0), at)


class Spooled:
    """Some of what was laid down, as a body that can be sent again from its beginning."""

    def __init__(self, spool: Spool, start: int, end: int) -> None:
        self._spool = spool
        self._start = start
        self._size = end - start
        self._at = 0

    def read(self, _size: int = -1, /) -> bytes:
        """The next piece, however much was asked for: see `tape.Held`."""
        piece = self._spool.read(self._start + self._at, min(_HANDED_BYTES, self._size - self._at))
        self._at += len(piece)
        return piece

    def seek(self, at: int, whence: int = SEEK_SET, /) -> int:
        """Move, as a file does."""
        self._at = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._size}[whence] + at
        return self._at

    def tell(self) -> int:
        """Where the next read begins, in bytes."""
        return self._at


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise DiskFault(f"this machine's disk: {fault.strerror}") from fault


def spool(size: int) -> Spool | None:
    """Room for so many bytes; None where the disk has none, or where there is no disk."""
    try:
        return Spool(size)
    except OSError as fault:
        log.warning("spool.none", reason=fault.strerror)
        return None
