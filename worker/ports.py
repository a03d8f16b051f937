"""What the tasks need from outside, as protocols of plain values. `infra` has the real ones, tests write their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

#: The time, with its zone.
Clock = Callable[[], datetime]


class Queue(Protocol):
    """Takes messages, or says that it could not."""

    def send(self, task: str, queue_name: str, args: Sequence[Any], task_id: str | None = ...) -> bool:
        """Whether the message was taken. `task_id`: of one that may be a repetition."""


class Broker(Queue, Protocol):
    """A queue that can be looked into."""

    def waiting(self, queue_name: str) -> int | None:
        """How many messages nobody has taken yet; None where that can't be learned."""


class Look(Protocol):
    """What a broker showed at one moment."""

    @property
    def waiting(self) -> Mapping[str, int | None]:
        """Messages that nobody has taken, by queue; None where there is no such queue."""

    @property
    def mark(self) -> str | None:
        """The name of the mark that lies in it; None where there is none."""

    @property
    def marked_at(self) -> datetime | None:
        """When that was left there; None where marks have no time."""

    @property
    def server(self) -> str | None:
        """Names the server's life since its start."""

    @property
    def evicted(self) -> int | None:
        """How much it threw away for want of memory."""

    @property
    def evicts(self) -> bool:
        """Whether what it throws away may be ours."""


class MarkedBroker(Protocol):
    """A broker in which a mark can be left, to be found as long as its content is."""

    def look(self, queues: Sequence[str], marks: Sequence[str]) -> Look | None:
        """What it holds; None where that can't be learned. `marks`: names that may have been left there."""

    def mark(self, name: str, at: datetime, *, there: bool) -> bool:
        """Leave a mark in place of one that is `there`, or where there is none; whether that could be done."""


class Hands(Protocol):
    """Do work beside us."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def free(self) -> int:
        """How many have nothing to do."""

    def give(self, work: Callable[[], None]) -> None:
        """Have `work` done."""


class Answer(Protocol):
    """A whole HTTP answer."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Names without regard to case."""

    @property
    def body(self) -> bytes:
        """All of it."""


class Stream(Protocol):
    """An HTTP answer whose body is still coming."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Names without regard to case."""

    @property
    def chunks(self) -> Iterator[bytes]:
        """The body, once."""

    @property
    def stop(self) -> Callable[[], None]:
        """Makes a read that waits in another thread fail."""


class Http(Protocol):
    """Calls out of the house. Errors: `infra.http.HttpError` and below."""

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        seconds: float,
        limit: int = ...,
        cut: bool = ...,
        may: Callable[[], bool] | None = ...,
    ) -> Answer:
        """One call; redirects are not followed. `seconds`: for all of it. `limit`: of the answer's body, in bytes.

        `cut`: a body that is longer, or breaks off, is returned as far as it came instead of raising. `may` is asked
        once the connection stands, before the first byte is sent; when it says no, `NotSent` is raised.
        """

    def stream(
        self, url: str, headers: Mapping[str, str], *, seconds: float, slowest: float = ...
    ) -> AbstractContextManager[Stream]:
        """GET, with a few redirects followed, given up below `slowest` bytes a second."""


class Body(Protocol):
    """Bytes on their way into the bucket: read once, sent as they come."""

    def read(self, size: int = -1, /) -> bytes | memoryview:
        """The next bytes; none at the end."""


class Bucket(Protocol):
    """Where the files go. Errors: `infra.object_store.StoreError`."""

    bucket: str
    relabel_bytes: int  #: of the largest object that `relabel` is meant for
    equal_parts: bool  #: whether all parts of an upload but the last must have one length

    def of(self, bucket: str) -> Bucket:
        """The bucket of this name in the same store, with the same credentials; itself for an empty name."""

    def put(
        self,
        key: str,
        body: bytes | Body,
        length: int | None = ...,
        *,
        content_type: str,
        filename: str,
        metadata: Mapping[str, str],
    ) -> str:
        """Store a small object whole, in place of what is there; its ETag. `length`: of a body that has none itself."""

    def put_stream(
        self, key: str, body: Body, length: int, *, content_type: str, filename: str, metadata: Mapping[str, str]
    ) -> str:
        """Store an object of known length while it comes; its ETag."""

    def relabel(self, key: str, etag: str, *, content_type: str, filename: str, metadata: Mapping[str, str]) -> None:
        """Replace an object's type, name and metadata, by a copy onto itself, if it still has this ETag."""

    def begin(self, key: str, *, content_type: str, filename: str, metadata: Mapping[str, str]) -> str:
        """Begin an object in parts; the upload's id."""

    def put_part(self, key: str, upload_id: str, number: int, body: Body, length: int) -> str:
        """Send one part; its ETag."""

    def complete(self, key: str, upload_id: str, etags: Sequence[str]) -> str:
        """Join the parts into the object; its ETag."""

    def abort(self, key: str, upload_id: str) -> None:
        """Throw its parts away."""

    def end_uploads(self, key: str, *, known: str | None = ...) -> None:
        """Throw away all parts of whatever was begun under `key`, and of the upload `known`, as far as is allowed."""

    def pending(self, prefix: str = "") -> Sequence[Any]:
        """Uploads begun and not ended: `key`, `upload_id`, `begun_at`."""

    def chunks(self, key: str) -> Iterator[bytes]:
        """All of an object, in pieces."""

    def open(self, key: str, size: int, kept: Callable[[int, int], bytes] = ...) -> Any:
        """The object as a seekable file. `kept(at, count)`: bytes that are here already, so they are not fetched."""

    def head(self, key: str) -> Any:
        """What is stored; None when nothing is."""

    def seen(self, key: str) -> Any:
        """As `head`; None also where the key is not permitted to ask."""

    def delete(self, key: str) -> None:
        """Remove an object."""

    def presign(self, key: str, *, seconds: int) -> str:
        """A link that opens for so long."""
