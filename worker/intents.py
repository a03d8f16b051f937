"""Which lengths the next parts of an upload have, written down before any of them leaves.

A part may arrive long after its worker was given up, and some stores (Swift) take it even into a film that is finished.
It does no harm where whoever went on with the upload has cut the file in the same places: it brings the bytes that are
there. So no part leaves whose length does not stand in the row, which only the holder of the lease can write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from worker.jobs.transfer import Transfer
from worker.sent import Ledger


@dataclass(frozen=True)
class Intents:
    """Those of one slice."""

    ledger: Ledger
    bound: int  #: number of the last part that others may have sent

    @classmethod
    def after(cls, at: Transfer, ledger: Ledger) -> Self:
        """For who goes on from `at`."""
        return cls(ledger, len(at.etags) + len(at.intended or ()))

    def written(self, at: Transfer, number: int, lengths: Iterable[int]) -> Transfer:
        """After it was written that parts of `lengths` may leave, the first with this number. Raises `LeaseLost`."""
        known = (at.intended or ())[: number - 1 - len(at.etags)]
        intended = (*known, *lengths)
        # What others have written stays: it is what these parts were cut by.
        if len(intended) <= len(at.intended or ()):
            return at
        at = replace(at, intended=intended)
        self.ledger.save(at)
        return at

    def are_of_others(self, at: Transfer) -> bool:
        """Whether others may have sent the next part."""
        return len(at.etags) < self.bound

    def withdrawn(self, at: Transfer) -> Transfer:
        """After the last part that left was cut: of less than its length no store makes a part. What others may have
        sent stays. Raises `LeaseLost`.
        """
        return self._keep(at, (at.intended or ())[: max(self.bound - len(at.etags), 0)])

    def given_up(self, at: Transfer) -> Transfer:
        """After it was written that the parts of others, too long for this store, are waited for no more: the file gets
        an upload of its own. Raises `LeaseLost`.
        """
        return self._keep(at, None)

    def _keep(self, at: Transfer, intended: tuple[int, ...] | None) -> Transfer:
        if intended != at.intended:
            at = replace(at, intended=intended)
            self.ledger.save(at)
        return at
