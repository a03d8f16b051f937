"""Send a source into the bucket: a small file whole, held in memory or laid down on the disk, a large one in parts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from io import SEEK_SET
from math import inf
from time import monotonic
from typing import Any

from infra.store_errors import StoreError, Taken, UploadGone
from worker import parts, ports
from worker.jobs.transfer import Transfer
from worker.label import JOB, SHA256
from worker.laid import Laid
from worker.parts import Parts
from worker.rests import Rests
from worker.sent import Kept, Label, Ledger, Sent, SliceOver
from worker.source import LeaseLost, NotStored, Reported, Source, said_of


@dataclass(frozen=True)
class Sender:
    """The way into one bucket."""

    bucket: ports.Bucket

    @property
    def rests(self) -> Rests:
        """What lies beside files."""
        return Rests(self.bucket)

    @cached_property
    def parts(self) -> Parts:
        """What does not go in one piece."""
        return Parts(self.bucket)

    def send(
        self,
        source: Source,
        at: Transfer,
        ledger: Ledger,
        *,
        label: Label,
        until: float,
        held: Callable[[Kept, int], None] = lambda _kept, _size: None,
    ) -> Sent:
        """Send what is left of `source`. Raises `SliceOver` at `until`, or soon after.

        `held` is called once all of a file is there, before it leaves.
        """
        laid = Laid(source, parts.PART_BYTES, at.come)
        if source.tape.whole and not at.upload_id:
            self._lay(laid, source, at, label, ledger, until)
            if source.ended:
                held(source.tape.read, source.size)
                label = partial(_knowing, label, source.digest.hexdigest())
                if sent := self._in_one_piece(source, at, label(None), ledger, until):
                    return sent
        at = self._begun(at, label, ledger)
        try:
            return self.parts.send(source, laid, at, label, ledger, until)
        except UploadGone:  # a lifecycle rule ended it: its parts are lost
            self._forget(at, ledger)
            raise

    def _begun(self, at: Transfer, label: Label, ledger: Ledger) -> Transfer:
        if at.upload_id:
            return at
        upload_id = self.bucket.begin(at.key, **label(None))
        at = replace(at if at.intended is not None else self.parts.of_short(at), upload_id=upload_id)
        try:
            ledger.save(at)
        except LeaseLost:  # whoever has the job now may have done all of it, and would not look for more uploads
            with suppress(StoreError):
                self.bucket.abort(at.key, upload_id)
            raise
        return at

    def complete(self, sent: Sent, ledger: Ledger, *, alone: bool) -> Sent:
        """Make an object of the parts. `alone`: nobody before had begun to send this file."""
        at, etag = sent.at, None
        assert at.upload_id is not None
        try:
            etag = self.bucket.complete(at.key, at.upload_id, at.etags)
        except UploadGone:
            # Completed before, and the answer was lost; or ended by somebody else, and all must be sent again.
            if self.bucket.seen(at.key) is None:
                self._forget(at, ledger)
                raise
            at = replace(at, sha256=None)  # what lies there need not be what this upload held
        if not (alone and etag):
            self.bucket.end_uploads(at.key)
        return replace(sent, at=at, etag=etag)

    def _forget(self, at: Transfer, ledger: Ledger) -> None:
        """Of what lies beside a file nobody would know any more, so that goes first."""
        self.rests.drop(at.key)
        ledger.drop(at)

    # --- laid down ----------------------------------------------------------------------------------------------
    def _lay(self, laid: Laid, source: Source, at: Transfer, label: Label, ledger: Ledger, until: float) -> None:
        """Have all of it here, or what came in half of the time that there is."""
        late = parts.late_of(until)
        try:
            laid.lay(_halfway(late), late)
        except parts.CUT:
            if late < inf:
                if laid.marks:
                    at = self.parts.of_laid(source, laid.marks, self._begun(at, label, ledger), ledger, inf)
                self.rests.put_of(source, at, laid.rest, label, ledger)
            raise

    def _in_one_piece(
        self, source: Source, at: Transfer, said: dict[str, Any], ledger: Ledger, until: float
    ) -> Sent | None:
        """The file, of which all is here; None where it has to go in parts: the bucket takes it too slowly, or a
        connection breaks each time, though not before as much as a part has left.
        """
        digest = source.digest.hexdigest()
        sent = Sent(replace(at, size=source.size, sha256=digest, whole=True), kept=source.tape.read)
        body = _InTime(source, _halfway(parts.late_of(until)) if source.size > parts.PART_BYTES else inf)
        try:
            with said_of(body):
                return replace(sent, etag=self.bucket.put_stream(at.key, body, source.size, **said))
        except SliceOver:
            return None
        except Taken as fault:  # by the same, perhaps, of which the answer was lost
            stored = self.bucket.head(at.key)
            if stored and stored.metadata.get(SHA256) == digest:
                return replace(sent, etag=stored.etag)
            if not self._stays(at, said, stored, ledger):
                raise NotStored("another file lies where it belongs") from fault
        except StoreError as fault:
            if fault.is_of_length or (fault.broke_off and body.most > parts.PART_BYTES):
                return None
            raise
        over = Reported(source.tape.body(), source.report)
        with said_of(over):
            return replace(sent, etag=self.bucket.put(at.key, over, source.size, **said))

    def _stays(self, at: Transfer, said: dict[str, Any], stored: Any, ledger: Ledger) -> bool:
        """Whether bytes of the same job that did not hold lie there, and can only be written over: this key of the
        store's may not clear them away. The lease is held for long then.
        """
        if stored is None or stored.metadata.get(JOB) != said["metadata"][JOB]:
            return False
        ledger.alive()
        try:
            self.bucket.delete(at.key)
        except StoreError as fault:
            ledger.unsure(fault)
            ledger.alive()
            return fault.forbids
        return False


class _InTime(Reported):
    """All of a file that lies here, as a body, until its time is over."""

    def __init__(self, source: Source, end: float) -> None:
        super().__init__(source.tape.body(), source.report)
        self._end = end
        self._come = 0
        self.most = 0  #: bytes that one connection took of it

    def read(self, size: int = -1, /) -> bytes | memoryview:
        """The next bytes. Raises `LeaseLost`, `SliceOver`."""
        if monotonic() > self._end:
            self.fault = SliceOver()
            raise self.fault
        piece = super().read(size)
        self._come += len(piece)
        self.most = max(self.most, self._come)
        return piece

    def seek(self, at: int, whence: int = SEEK_SET, /) -> int:
        """Move, as a file does."""
        self._come = super().seek(at, whence)
        return self._come


def _halfway(end: float) -> float:
    now = monotonic()
    return now + (end - now) / 2


def _knowing(label: Label, digest: str, _unknown: None = None) -> dict[str, Any]:
    return label(digest)
