"""A store that takes parts into what is finished, as Swift does; a worker's way to it, its row, and its source."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

from infra.http import NoAnswer
from infra.object_store import Stored
from infra.store_errors import StoreError, UploadGone
from worker.jobs.transfer import Transfer
from worker.kling.wire import Output

#: Bytes of the shortest part and of the longest; and of the longest file that is laid down first.
LEAST, LONGEST, SPOOLED = 8, 40, 120
OUTPUT = Output("other", "original", 0, "https://cdn.example/file", "77", None)


class Dead(BaseException):
    """A worker is given up; what it had sent is on its way."""


@dataclass(frozen=True)
class Late:
    """A part on its way."""

    upload: str
    number: int
    body: bytes


@dataclass
class Store:
    """What a store holds whose objects consist of their parts as they lie there: Swift's."""

    objects: dict[str, tuple[bytes, Mapping[str, str]]] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    labels: dict[str, Mapping[str, str]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    joined: dict[str, tuple[str, int]] = field(default_factory=dict)  #: by key: its upload, and how many parts it has

    def take(self, part: Late) -> None:
        """Take a part, whether its upload is finished or not; not if that was thrown away."""
        if part.upload in self.ended:
            raise UploadGone("gone")
        self.uploads[part.upload][part.number] = part.body

    def body(self, key: str) -> bytes:
        """What is read of an object."""
        if key in self.joined:
            upload, count = self.joined[key]
            return b"".join(self.uploads[upload][number] for number in range(1, count + 1))
        return self.objects[key][0]


@dataclass
class Way:
    """The way of one worker to the store. Its `dies`-eth part and the one after it (`both`) do not arrive: they are on
    their way when the worker is given up, or (`unheard`) hears that nobody knows what became of them.
    """

    store: Store
    dies: int
    both: bool
    unheard: bool
    keeps: bool = False  #: whether it fails to end uploads
    most: float = inf  #: bytes of the longest part that the store takes
    breaks: bool = False  #: whether a connection breaks with more, instead of being told so
    is_mute: bool = False  #: whether it takes more, and never says so
    bucket: str = "films"
    relabel_bytes: int = 0
    equal_parts: bool = False
    sent: int = 0
    late: list[Late] = field(default_factory=list)
    second: threading.Event = field(default_factory=threading.Event)

    def put_stream(self, *_: Any, **__: Any) -> str:
        """All files go in parts here."""
        fault = StoreError("too large")
        fault.code = "EntityTooLarge"
        raise fault

    def begin(self, _key: str, *, metadata: Mapping[str, str], **_label: Any) -> str:
        """Begin."""
        upload = f"upload-{len(self.store.uploads)}"
        self.store.uploads[upload], self.store.labels[upload] = {}, metadata
        return upload

    def put_part(self, _key: str, upload: str, number: int, body: Any, length: int) -> str:
        """Take a part."""
        if self.breaks and length > self.most:
            while body.read() and body.come <= self.most:
                pass
            raise StoreError("broken off")
        try:
            sent = b"".join(map(bytes, iter(body.read, b"")))
        except Exception:
            self.second.set()
            raise
        assert length == len(sent)
        if length > self.most and self.is_mute:
            self.store.take(Late(upload, number, sent))
            raise StoreError("no answer")
        if length > self.most:
            self.put_stream()
        self.sent += 1
        part, order = Late(upload, number, sent), self.sent
        if order < self.dies:
            self.store.take(part)
            return etag_of(sent)
        self.late.append(part)
        if order > self.dies:
            self.second.set()
        elif self.both:
            self.second.wait(0.05)  # it may be the last one
        raise StoreError("no answer") if self.unheard else Dead

    def complete(self, key: str, upload: str, etags: Sequence[str]) -> str:
        """Join."""
        there = self.store.uploads[upload]
        if upload in self.store.ended or list(etags) != [etag_of(there[number + 1]) for number in range(len(etags))]:
            raise UploadGone("gone")
        self.store.joined[key] = upload, len(etags)
        self.store.objects[key] = b"", self.store.labels[upload]
        return "joined"

    def end_uploads(self, _key: str, *, known: str | None = None) -> None:
        """End all that are not finished."""
        if self.keeps:
            raise StoreError("no answer")
        finished = {upload for upload, _ in self.store.joined.values()}
        self.store.ended |= ({known} - {None} | set(self.store.uploads)) - finished  # type: ignore[arg-type]

    def put(self, key: str, body: Any, *_: Any, metadata: Mapping[str, str], **__: Any) -> str:
        """Store what is put aside."""
        self.store.objects[key] = b"".join(map(bytes, iter(body.read, b""))), metadata
        return "put"

    def chunks(self, key: str) -> Iterator[bytes]:
        """In small pieces."""
        if key not in self.store.objects:
            fault = StoreError("missing")
            fault.code = "NoSuchKey"
            raise fault
        body = self.store.body(key)
        return (body[at : at + 5] for at in range(0, len(body), 5))

    def head(self, key: str) -> Stored | None:
        """What is there."""
        if key not in self.store.objects:
            return None
        return Stored(len(self.store.body(key)), "joined", "", self.store.objects[key][1])

    seen = head

    def delete(self, key: str) -> None:
        """Remove it."""
        self.store.objects.pop(key, None)
        self.store.joined.pop(key, None)


def etag_of(body: bytes) -> str:
    """As S3 has it."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


@dataclass
class Row:
    """The row of the one file."""

    at: Transfer | None = None

    def save(self, at: Transfer) -> None:
        """Write it."""
        self.at = at

    def drop(self, _at: Transfer) -> None:
        """Forget it."""
        self.at = None

    def restarted(self, _at: Transfer) -> None:
        """Nothing is counted here."""

    def alive(self) -> None:
        """It goes on."""

    def unsure(self, _fault: StoreError) -> None:
        """Nothing is put off here."""


@dataclass
class Web:
    """A source that brings pieces of `piece` bytes, and after `brings` of them breaks off or (`hangs`) says nothing."""

    file: bytes
    etag: str
    piece: int
    brings: float
    hangs: bool
    odd: bool = False  #: whether it breaks off in a way that nobody foresaw
    seconds: float = 0.05  #: for which it says nothing at most

    @contextmanager
    def stream(self, _url: str, headers: Mapping[str, str], **_: Any) -> Iterator[Any]:
        """As `infra.http` has it."""
        ranged = headers.get("If-Range") == self.etag
        start = int(headers["Range"].removeprefix("bytes=").removesuffix("-")) if ranged else 0
        stopped = threading.Event()
        said = {"ETag": self.etag, "Content-Length": str(len(self.file) - start)}
        if ranged:
            said["Content-Range"] = f"bytes {start}-{len(self.file) - 1}/{len(self.file)}"

        def chunks() -> Iterator[bytes]:
            for count, at in enumerate(range(start, len(self.file), self.piece)):
                if count >= self.brings:
                    if self.hangs:
                        stopped.wait(self.seconds)
                    raise ValueError if self.odd else NoAnswer("broke off")
                yield self.file[at : at + self.piece]

        yield Stream(206 if ranged else 200, said, chunks(), stopped.set)


@dataclass(frozen=True)
class Stream:
    """An answer whose body is still coming."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]
    stop: Callable[[], None]
