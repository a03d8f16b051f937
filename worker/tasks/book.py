"""Writes down how far the copy of a job is, and keeps the lease by which one worker has it to itself."""

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
from worker.store.manifests import Place
from worker.store.repository import Repository

log = logger(__name__)

#: How long a worker may stand still before another one takes its copy up.
LEASE = timedelta(seconds=20)
#: The same while something is deleted: a delete that arrives late must not remove what the next worker has stored. The
#: store's client gives a call up after a minute; a longer lease would make the successor of a killed worker wait.
CLEARING = timedelta(seconds=90)
#: Between two writes of progress.
_SIGN = timedelta(seconds=1)
#: Seconds between two renewals while a copy waits for a silent source, or for a slow call to the store.
_WAITING_SECONDS = 5.0
#: Seconds for which a copy may so wait. A call to the store is tried four times, a minute each, and joining parts may
#: take minutes; a worker that waits for longer hangs.
_LONGEST_WAIT = 900.0


class Book:
    """Writes down the progress of one job's copy. Each write renews the lease; all raise `LeaseLost` once it is gone.

    Used as a context manager it also renews the lease, from a thread, while a source or the bucket is silent: the
    worker that waits for them is alive.
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
        #: Held from the look at the clock until it is written: of two threads' times the later one is to stand.
        self._writing = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._wait, name="lease", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def progress(self, copied: int, length: int | None) -> None:
        """Called for each piece of a file; writes it down once a second."""
        if self._lost:
            raise LeaseLost
        if monotonic() - self._last >= _SIGN.total_seconds():
            self.sign(copied, length)

    def add(self, file: ResultFile) -> None:
        """Write that a file is proven."""
        self._last = monotonic()
        self.brought = True
        self.before += file.size
        with self._writing:
            now, lease = self._clock(), self._lease()
            self.stored_at = now
            self._is_held(self._store.add_file(self._job_id, self.owner, file, now, lease, copied=self.before))

    def alive(self) -> None:
        """Renew the lease for `CLEARING`, before something is deleted."""
        self.sign(0, None, CLEARING)

    def done(self) -> None:
        """Make sure of the lease once all files are stored, before the manifest is written."""
        if self.stored_at is None or self._clock() - self.stored_at >= _SIGN:
            self.sign(0, 0)

    def sign(self, copied: int, length: int | None, lease: timedelta = LEASE) -> None:
        """Write down how many bytes of the current file have come, and its length in bytes where that is known."""
        self._last = monotonic()
        copied, total = self.before + copied, None if length is None else self.before + length
        with self._writing:
            now, lease = self._clock(), max(lease, self._lease())
            self._is_held(self._store.progress(self._job_id, self.owner, now, lease, copied=copied, total=total))

    def save(self, transfer: Transfer) -> None:
        """Write down how much of a file is stored."""
        self._last = monotonic()
        with self._writing:
            now, lease = self._clock(), self._lease()
            self._is_held(self._store.transfers.save(self._job_id, self.owner, transfer, now, lease))
        if transfer.whole:  # all of it was sent again, and is there: what remains is no failure of its source
            self.restarts = 0
        before = self.begun.get(transfer.place)
        self.brought = self.brought or transfer.come > (before.come if before else 0)
        self.grew = self.grew or (before is not None and 0 < before.come < transfer.come)

    def leave_out(self) -> None:
        """Write down that the job does without what is wrong: `faults` are what was settled first, whoever did."""
        with self._writing:
            settled = self._store.manifests.leave_out(self._job_id, self.owner, self.faults, self._clock())
        self._is_held(settled is not None)
        self.faults = settled or {}

    def restarted(self, transfer: Transfer) -> None:
        """A file that was begun before has to be sent from its beginning again."""
        self.restarts += 1
        self.begun.pop(transfer.place, None)

    def drop(self, transfer: Transfer) -> None:
        """Forget a file under way."""
        self._is_held(self._store.transfers.drop(self._job_id, self.owner, transfer))

    def unsure(self, fault: StoreError) -> None:
        """A delete failed without an answer and may still happen: nobody gets the job before `CLEARING` is over."""
        if fault.passes:
            self._settled = self._clock() + CLEARING

    def put_off(self, due: datetime, **changes: Any) -> None:
        """Give the lease back. The job goes on when it is `due`, but not while a delete may still be on its way."""
        self._store.put_off(self._job_id, self.owner, due, until=self._settled, **changes)

    def _is_held(self, written: bool) -> None:  # noqa: FBT001 - as the rows say
        """The copy's other threads hear of it with their next piece, before they have sent all of a part."""
        if not written:
            self._lost = True
            raise LeaseLost

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
