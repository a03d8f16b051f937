"""Tells a failure of the database from a bad file: both end a copy, and only the second counts against the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.store_errors import StoreError
from worker.jobs.transfer import Transfer
from worker.sent import Ledger
from worker.source import Progress


class Watched:
    """Passes every call on to a `Ledger`. `failed` is true once one of them raised: then the file is not at fault."""

    def __init__(self, ledger: Ledger, progress: Progress, at: Transfer) -> None:
        self.at = at  #: what was last written
        self.failed = False
        self._ledger = ledger
        self._progress = progress

    def save(self, transfer: Transfer) -> None:
        """As the ledger does."""
        with self._watching():
            self._ledger.save(transfer)
        self.at = transfer

    def drop(self, transfer: Transfer) -> None:
        """As the ledger does."""
        with self._watching():
            self._ledger.drop(transfer)

    def restarted(self, transfer: Transfer) -> None:
        """As the ledger does."""
        self._ledger.restarted(transfer)

    def alive(self) -> None:
        """As the ledger does."""
        with self._watching():
            self._ledger.alive()

    def unsure(self, fault: StoreError) -> None:
        """As the ledger does."""
        self._ledger.unsure(fault)

    def progress(self, copied: int, length: int | None) -> None:
        """Report the bytes that were copied, and the length of the file where it is known."""
        try:  # for each piece: no more around it than it takes
            self._progress(copied, length)
        except Exception:
            self.failed = True
            raise

    @contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.failed = True
            raise
