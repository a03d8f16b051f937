"""What sending a file takes and gives: the row that says how far it is, and the file once the bucket has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from infra.store_errors import StoreError
from worker.jobs.transfer import Transfer

#: What an object is stored with, by the SHA-256 of its bytes where that is known before they leave.
Label = Callable[[str | None], dict[str, Any]]
#: Reads what is still here of a file: at most so many bytes (second) from a byte (first), none if it is not there.
Kept = Callable[[int, int], bytes]


class SliceOver(Exception):
    """The time of one task is used up. Everything that came is safe, another task goes on."""


class Ledger(Protocol):
    """Where it is written how far a file is."""

    def save(self, transfer: Transfer) -> None:
        """Write it. Raises `LeaseLost`."""

    def drop(self, transfer: Transfer) -> None:
        """Forget it. Raises `LeaseLost`."""

    def restarted(self, transfer: Transfer) -> None:
        """Parts of it are there, and all of it has to be sent again."""

    def alive(self) -> None:
        """Say that it goes on. Raises `LeaseLost`."""

    def unsure(self, fault: StoreError) -> None:
        """A call that throws something away has failed; where that was no refusal, it may be on its way still."""


@dataclass(frozen=True)
class Sent:
    """A file of which the bucket has every byte."""

    at: Transfer
    etag: str | None = None  #: as the bucket said it when it took the object; None where that answer was not heard
    kept: Kept = lambda _at, _count: b""  #: reads what is still here of it
