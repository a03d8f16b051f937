"""What the tasks need from outside, as protocols of plain values. `infra` has the real ones, tests write their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol, Self

#: The time, with its zone.
Clock = Callable[[], datetime]


class Queue(Protocol):
    """Takes messages, or says that it could not."""

    def send(self, task: str, queue_name: str, args: Sequence[Any]) -> bool:
        """Whether the message was taken."""


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


class Http(Protocol):
    """Calls out of the house. Errors: `infra.http.HttpError` and below."""

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, seconds: float, limit: int = ...
    ) -> Answer:
        """One call, no redirect followed."""

    def stream(self, url: str, headers: Mapping[str, str], *, seconds: float) -> AbstractContextManager[Stream]:
        """GET, with a few redirects followed."""


class Upload(Protocol):
    """An object being written."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(self, kind: object, fault: object, trace: object) -> None:
        """An error aborts it."""

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""

    def finish(self) -> None:
        """Make the object appear."""


class Bucket(Protocol):
    """Where the files go. Errors: `infra.object_store.StoreError`."""

    bucket: str

    def put(self, key: str, body: bytes, *, content_type: str, metadata: Mapping[str, str]) -> None:
        """Store a small object whole."""

    def upload(self, key: str, *, content_type: str, metadata: Mapping[str, str]) -> Upload:
        """Begin an object whose length is not known."""

    def open(self, key: str, size: int) -> Any:
        """The object as a seekable file."""

    def head(self, key: str) -> Any:
        """What is stored; None when nothing is."""

    def delete(self, key: str) -> None:
        """Remove an object."""

    def presign(self, key: str, *, seconds: int) -> str:
        """A link that opens for so long."""
