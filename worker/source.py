"""One result file as it is downloaded, and what can be said of it without looking at it twice.

Each piece is counted, hashed and, of an MP4, checked for its structure (boxes), before it is handed on to the bucket.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from io import SEEK_SET
from itertools import chain
from typing import Any, Protocol

from infra.boxes import BoxWalk
from infra.sniff import HEAD_BYTES, sniff
from infra.store_errors import StoreError
from worker.jobs import retry
from worker.jobs.transfer import Transfer
from worker.ports import Stream
from worker.spool import SPOOLED_BYTES, Spool, spool
from worker.tape import BLOCKS, HELD_BYTES, Tape

#: Called with the bytes that have come of this file, and its length where it is known. Raises `LeaseLost`.
Progress = Callable[[int, int | None], None]

#: Nothing comes in longer pieces.
_LONGEST_PIECE = 2**20
#: How a page or an error begins that calls itself something else, behind what may stand before it.
_PAGE = (b"<", b"{")
#: What no text holds, in whatever letters.
_NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_BLANK = b"\xef\xbb\xbf \t\r\n"
#: Statuses that say nothing of the file.
_SERVER_FAULT, _TOO_MANY = 500, 429
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class LeaseLost(Exception):
    """Somebody else copies this job now."""


class Unproven(Exception):
    """A result could not be fetched, or its bytes are not what they claim to be. Worth a fresh link."""

    def __init__(self, reason: str, *, wait: float = 0) -> None:
        super().__init__(reason)
        self.wait = wait  #: seconds that the source asked for


class NotHad(Unproven):
    """The server did not send the file, or not all of it. Worth trying again as long as the provider has the result.

    `passes`: nothing says that there is no such file, the next attempt may well have it.
    """

    def __init__(self, reason: str, *, wait: float = 0, passes: bool = False) -> None:
        super().__init__(reason, wait=wait)
        self.passes = passes


class NotStored(Unproven):
    """The bucket accepted a file, and what it holds now is something else. All of it has to be sent again."""


class SourceChanged(Unproven):
    """The file behind the link is not the one that was begun, so it can't be continued: start from byte 0."""


class Again(Protocol):
    """A body that can be read more than once."""

    def read(self, size: int = -1, /) -> bytes | memoryview:
        """The next bytes; none at the end."""

    def seek(self, at: int, whence: int = SEEK_SET, /) -> int:
        """Go to a byte."""

    def tell(self) -> int:
        """Where the next read begins, in bytes."""


class Source:
    """A file that is being fetched: `next()` returns its bytes, piece by piece.

    `size`, `digest`, `crc32` and `boxes` always describe the bytes that `next()` has returned so far.
    """

    def __init__(
        self,
        stream: Stream,
        transfer: Transfer,
        *,
        largest: int,
        walked: bool,
        digest: Any,
        progress: Progress,
        rest: Iterable[bytes] = (),
    ) -> None:
        """Continue `transfer` if the server sent the rest of the file; if it sent all of it, start from byte 0.

        `digest`: the SHA-256 so far of the parts that were stored before; None where no process has it any more.
        `rest`: bytes that were stored beside those parts, too few for a part of their own.
        """
        start, self.length = _bounds(stream, transfer)
        if self.length is not None and self.length > largest:
            raise Unproven(f"the file is {self.length} bytes long, more than MAX_RESULT_BYTES allows")
        self.resumed = start > 0
        self.size = transfer.size if self.resumed else 0
        self.validator = validator(stream.headers)
        self.resumable = self.resumed or _can_go_on(stream.headers, self.validator, transfer)
        self.crc32 = transfer.crc32 if self.size else 0
        #: None where it has none; what was not walked from its beginning is not walked from its middle.
        self.boxes = (
            BoxWalk(transfer.walk if self.size else None) if walked and (transfer.walk or not self.size) else None
        )
        self.digest = digest if self.size else sha256()
        self.tape = self._tape()
        self._type = stream.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.stop = stream.stop  #: makes a `next()` that waits in another thread fail
        self.fault: Exception | None = None  #: why the last part ended early; a client library may have hidden it
        self._limit = largest if self.length is None else self.length
        self._chunks = chain(rest, stream.chunks) if self.resumed else stream.chunks
        self._rest = memoryview(b"")
        self._progress = progress

    def _tape(self) -> Tape | Spool:
        """What is kept: all of a file that is short enough, in memory or on disk."""
        if self.length is None or self.size:
            return Tape(self.size)
        if self.length <= HELD_BYTES:
            return Tape(held=self.length)
        BLOCKS.give_back()  # a long film may need the memory for its frames
        return (spool(self.length) if self.length <= SPOOLED_BYTES else None) or Tape()

    @property
    def ended(self) -> bool:
        """Whether every byte has been handed out; decided by looking for one more where no length was said."""
        if self.length is not None:
            return self.size == self.length
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        if not self._rest and self.boxes:
            self.boxes.finish()
        return not self._rest

    def part_length(self, most: int, at: int) -> int:
        """Bytes of a part that begins at byte `at`: `most`, or what is left."""
        return most if self.length is None else min(most, self.length - at)

    def head(self) -> bytes:
        """The first bytes that `next()` will return, without taking them."""
        while len(self._rest) < HEAD_BYTES and (piece := next(self._chunks, b"")):
            self._rest = memoryview(bytes(self._rest) + piece if self._rest else piece)
        return bytes(self._rest[:HEAD_BYTES])

    def check(self, *, media: bool) -> None:
        """Raises `NotHad` where the server sent nothing, or a page or an error text in place of the file, whatever
        `Content-Type` it gave it. `media`: whether the file can't be a text.
        """
        head = self.head()
        if not head:
            raise NotHad("the result link answers with nothing")
        page = _is_text(self._type) or head.lstrip(_BLANK)[:1] in _PAGE or (media and not _NO_TEXT.search(head))
        if page and sniff(head, None) is None:
            raise NotHad("the result link answers with a page instead of a file")

    def report(self) -> None:
        """Say how many bytes have come. Raises `LeaseLost`."""
        try:
            self._progress(self.size, self.length)
        except Exception as fault:
            self.fault = fault
            raise

    def next(self, most: int) -> bytes:
        """The next bytes, at most `most`; none at the end. Of a bad file it raises before it returns the last ones."""
        try:
            return self._next(most)
        except Exception as fault:
            self.fault = fault
            raise

    def _next(self, most: int) -> bytes:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        piece = self._cut(most)
        self.size += len(piece)
        if self.size > self._limit:
            raise Unproven("the file is longer than it said, or than MAX_RESULT_BYTES allows")
        if not piece and self.length is not None and self.size < self.length:
            raise NotHad(f"{self.size} bytes came of {self.length}", passes=True)
        if self.length is None or self.length > HELD_BYTES:  # only what goes in parts may need it
            self.crc32 = zlib.crc32(piece, self.crc32)
        if self.digest:
            self.digest.update(piece)
        if self.boxes:
            self.boxes.feed(piece)
            if not piece or self.size == self.length:
                self.boxes.finish()
        self.tape.add(piece)
        return piece

    def _cut(self, most: int) -> bytes:
        piece, self._rest = self._rest[:most], self._rest[most:]
        whole = piece.obj
        return whole if isinstance(whole, bytes) and len(whole) == len(piece) else bytes(piece)


class Body:
    """What is left of a source, as a body to be sent."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, _size: int = -1, /) -> bytes:
        """What came, however much was asked for: see `pipe.Part`."""
        left = self._source.part_length(_LONGEST_PIECE, self._source.size)
        piece = self._source.next(left) if left else b""
        self._source.report()
        return piece


class Reported:
    """A body that can be sent again; each time that some of it is asked for, it is reported that it goes on."""

    def __init__(self, body: Again, report: Callable[[], None]) -> None:
        self.fault: Exception | None = None  #: why it ended early; a client library may have hidden it
        self._body = body
        self._report = report

    def read(self, size: int = -1, /) -> bytes | memoryview:
        """The next bytes. Raises `LeaseLost`."""
        try:
            self._report()
            return self._body.read(size)
        except Exception as fault:
            self.fault = fault
            raise

    def seek(self, at: int, whence: int = SEEK_SET, /) -> int:
        """Move, as a file does."""
        return self._body.seek(at, whence)

    def tell(self) -> int:
        """Where the next read begins, in bytes."""
        return self._body.tell()


@contextmanager
def said_of(body: Source | Reported) -> Iterator[None]:
    """Raise what a body raised while it was sent, not what the store's client made of that."""
    try:
        yield
    except StoreError as fault:
        if body.fault:
            raise body.fault from fault
        raise


def validator(headers: Mapping[str, str]) -> str | None:
    """The strong ETag or the date that `If-Range` can name this version of the file by; None where there is none.

    A weak ETag does not promise the same bytes, and ranges of a compressed answer are not ranges of the file.
    """
    if _encoded(headers):
        return None
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


def _is_text(content_type: str) -> bool:
    return content_type.startswith("text/") or content_type.endswith(("json", "xml"))


def _encoded(headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Encoding", "").strip().lower() not in {"", "identity"}


def _can_go_on(headers: Mapping[str, str], named: str | None, transfer: Transfer) -> bool:
    """Whether a later request may ask for the bytes that this one does not get to.

    A server that was asked for the rest of a file, and sends all of the unchanged file, ignores `Range`.
    """
    knows_none = transfer.come > 0 and named == transfer.validator
    return named is not None and not knows_none and headers.get("Accept-Ranges", "") != "none"


def resume_headers(transfer: Transfer) -> dict[str, str]:
    """What asks for the rest of a file, or for all of it if it has changed."""
    if not transfer.come or not transfer.validator:
        return {}
    return {"Range": f"bytes={transfer.come}-", "If-Range": transfer.validator}


def _bounds(stream: Stream, transfer: Transfer) -> tuple[int, int | None]:
    """The byte that the stream begins with, and the length of the whole file."""
    if stream.status == 416 and transfer.come:
        raise SourceChanged("the result is shorter than what was copied of it")
    if stream.status == 206 and not transfer.come:
        return 0, _all_of(stream.headers)
    if stream.status not in {200, 206}:
        now = retry.moment(stream.headers.get("Date"))  # by the clock that a date in the other one is of
        wait = retry.retry_after(stream.headers.get("Retry-After"), now)
        busy = stream.status >= _SERVER_FAULT or stream.status == _TOO_MANY
        raise NotHad(f"the result link answers HTTP {stream.status}", wait=wait, passes=busy)
    if stream.status == 206:
        return transfer.come, _whole_length(stream.headers, transfer)
    text = "" if _encoded(stream.headers) else stream.headers.get("Content-Length", "")  # of what it was encoded to
    return 0, int(text) if text.isascii() and text.isdigit() else None


def _all_of(headers: Mapping[str, str]) -> int:
    """Bytes of a file that was asked for whole: some servers call all of it a part. Raises `NotHad`."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if not match or int(match[1]):
        raise NotHad("the result link answers with a part that nobody asked for")
    return int(match[2])


def _whole_length(headers: Mapping[str, str], transfer: Transfer) -> int:
    """Bytes of the whole file of which the rest comes. Raises `SourceChanged` where that is not what was asked for."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    # Only a date may be left out where it was asked for by it: RFC 9110, 15.3.7.
    dated = transfer.validator is not None and not transfer.validator.startswith('"')
    same = validator(headers) in ({None, transfer.validator} if dated else {transfer.validator})
    if not match or not same or int(match[1]) != transfer.come or transfer.length not in {None, int(match[2])}:
        raise SourceChanged("the result link answers with another part than was asked for")
    return int(match[2])
