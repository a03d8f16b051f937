"""What sending a file to the bucket needs (a `Ledger`, to write progress down) and what it gives (`Sent`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from infra.store_errors import StoreError
from worker.jobs.transfer import Transfer

#: What an object is stored with, by the SHA-256 of its bytes where that is known before they leave.
Label = Callable[[str | None], dict[str, Any]]
#: Reads bytes of a file that this process still has: `(from byte, at most so many)`; empty where they are gone.
Kept = Callable[[int, int], bytes]


class SliceOver(Exception):
    """This task has used up its time. All bytes so far are stored or noted; another task continues from there."""


class Ledger(Protocol):
    """Writes down how much of a file is stored, under the lease of its job."""

    def save(self, transfer: Transfer) -> None:
        """Write it. Raises `LeaseLost`."""

    def drop(self, transfer: Transfer) -> None:
        """Forget it. Raises `LeaseLost`."""

    def restarted(self, transfer: Transfer) -> None:
        """Parts of it are there, and all of it has to be sent again."""

    def alive(self) -> None:
        """Say that it goes on. Raises `LeaseLost`."""

    def unsure(self, fault: StoreError) -> None:
        """A delete failed. Without an answer the store may still do it, so nothing is stored there for a while."""


@dataclass(frozen=True)
class Sent:
    """A file of which the bucket has every byte."""

    at: Transfer
    etag: str | None = None  #: as the bucket said it when it took the object; None where that answer was not heard
    kept: Kept = lambda _at, _count: b""  #: reads what is still here of it
