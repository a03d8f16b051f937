"""Where it is written how far a job's copy is, and who holds it meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Self

from sqlalchemy.exc import SQLAlchemyError

from infra.log import logger
from infra.store_errors import StoreError
from worker.jobs.model import ResultFile
from worker.jobs.transfer import Transfer
from worker.ports import Clock
from worker.source import LeaseLost
from worker.store.repository import Repository
from worker.tasks.record import Place

log = logger(__name__)

#: How long a worker may stand still before another one takes its copy up.
LEASE = timedelta(seconds=20)
#: The same while something is thrown away: a call that is on its way for longer must not remove what the next worker
#: has stored by then. The store's client gives a call up after a minute. Longer, and so long would wait who takes over
#: from one that was killed meanwhile.
CLEARING = timedelta(seconds=90)
#: Between two signs of life.
_SIGN = timedelta(seconds=1)
#: Seconds between two of a copy that waits: for a source that says nothing, or a store that thinks about a call.
_WAITING_SECONDS = 5.0
#: Seconds that it may so wait. A store is asked four times, a minute each, and may take minutes to join parts; who
#: waits for longer hangs.
_LONGEST_WAIT = 900.0


class Book:
    """Where it is written how far a job's copy is. Writing renews the lease: it is the sign of life, too. As a context
    it renews it also while what is waited for is silent for longer, since that is no death.
    """

    def __init__(self, job_id: str, owner: str, begun: Sequence[Transfer], *, store: Repository, clock: Clock) -> None:
        self.before = 0  #: bytes of the files that are proven
        self.stored_at: datetime | None = None  #: when the last of those files was written down
        self.owner = owner
        self.restarts = 0  #: how often parts that were sent were of no use any more
        self.begun = {transfer.place: transfer for transfer in begun}  #: files that were begun before
        self.faults: dict[Place, str] = {}  #: what is wrong with single outputs
        self.brought = False  #: whether the bucket took anything
        self.grew = False  #: whether there is more now of a file that was begun before
        self._job_id = job_id
        self._store = store
        self._clock = clock
        self._last = monotonic()
        self._settled: datetime | None = None  #: when nothing is thrown away any more
        self._lost = False
        self._over = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._wait, name="lease", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def progress(self, copied: int, length: int | None) -> None:
        """Bytes are flowing; now and then that is written."""
        if self._lost:
            raise LeaseLost
        if monotonic() - self._last >= _SIGN.total_seconds():
            self.sign(copied, length)

    def add(self, file: ResultFile) -> None:
        """Write that a file is proven."""
        self._last = monotonic()
        self.brought = True
        self.before += file.size
        now, lease = self._clock(), self._lease()
        self.stored_at = now
        if not self._store.add_file(self._job_id, self.owner, file, now, lease, copied=self.before):
            raise LeaseLost

    def alive(self) -> None:
        """Have it to oneself for longer, to throw something away, unless another one has it."""
        self.sign(0, None, CLEARING)

    def done(self) -> None:
        """Be sure to have it still, once all files are there, before what is said of them is on its way."""
        if self.stored_at is None or self._clock() - self.stored_at >= _SIGN:
            self.sign(0, 0)

    def sign(self, copied: int, length: int | None, lease: timedelta = LEASE) -> None:
        """Write how many bytes of the current file have come."""
        self._last = monotonic()
        total = None if length is None else self.before + length
        now, lease = self._clock(), max(lease, self._lease())
        if not self._store.progress(self._job_id, self.owner, now, lease, copied=self.before + copied, total=total):
            raise LeaseLost

    def save(self, transfer: Transfer) -> None:
        """Write how far a file is."""
        self._last = monotonic()
        if not self._store.transfers.save(self._job_id, self.owner, transfer, self._clock(), self._lease()):
            raise LeaseLost
        if transfer.whole:  # all of it was sent again, and is there: what remains is no failure of its source
            self.restarts = 0
        before = self.begun.get(transfer.place)
        self.brought = self.brought or transfer.come > (before.come if before else 0)
        self.grew = self.grew or (before is not None and 0 < before.come < transfer.come)

    def restarted(self, transfer: Transfer) -> None:
        """All of a file is sent again."""
        self.restarts += 1
        self.begun.pop(transfer.place, None)

    def drop(self, transfer: Transfer) -> None:
        """Forget a file under way."""
        if not self._store.transfers.drop(self._job_id, self.owner, transfer):
            raise LeaseLost

    def unsure(self, fault: StoreError) -> None:
        """Something may be thrown away as long as a call takes: until then nobody stores anything in its place."""
        if fault.passes:
            self._settled = self._clock() + CLEARING

    def put_off(self, due: datetime, **changes: Any) -> None:
        """Give the job back; it goes on when it is `due`, and not before what was thrown away is gone."""
        self._store.put_off(self._job_id, self.owner, due, until=self._settled, **changes)

    def _wait(self) -> None:
        while not self._over.wait(_WAITING_SECONDS) and not self._lost:
            if _WAITING_SECONDS <= monotonic() - self._last <= _LONGEST_WAIT:
                self._renew()

    def _renew(self) -> None:
        try:
            self._lost = not self._store.renew(self._job_id, self.owner, self._clock(), LEASE)
        except SQLAlchemyError as fault:  # who waits has nothing to write, and may be done when the database is back
            log.warning("archive.not_renewed", job=self._job_id, reason=type(fault).__name__)

    def _lease(self) -> timedelta:
        return max(LEASE, self._settled - self._clock()) if self._settled else LEASE
