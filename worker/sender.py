"""Send a source into the bucket: a small file whole, held in memory or laid down on the disk, a large one in parts.

Parts overlap: while the bucket thinks about one, the next is on its way. They are written down in their order.

No slice waits for a slow source. Each begins with a short part, and those after it are as long as comes in a moment.
What there is of a short one when the slice is over is put beside the file. So a slice that is cut has always brought
something, and what was read in vain was read by that slice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Protocol

from infra.http import HttpError
from infra.store_errors import StoreError, Taken, UploadGone
from worker import ports
from worker.jobs.transfer import Transfer
from worker.label import JOB, SHA256
from worker.pipe import Mark, Next, Part, Pipe
from worker.rests import Rests
from worker.source import Again, Body, LeaseLost, NotHad, NotStored, Reported, Source
from worker.tape import Held

#: Bytes of the shortest part, above S3's least of 5 MiB: so much is in memory of the first one of a slice. A file that
#: is no longer than two of them goes in one piece.
PART_BYTES = 8 * 2**20
#: Bytes of the longest part: what is lost at most when a worker is killed. Each costs a round trip, and a row.
LONGEST_PART = 64 * 2**20
#: Seconds that a part should take.
_PART_SECONDS = 2
#: Of one upload.
_MOST_PARTS = 10_000
#: Seconds that a part may still take when a slice is over, and that each file has at least. More than `_PART_SECONDS`,
#: so that only a source that has become slower is cut.
LINGER = 3.0
_KEPT_DIGESTS = 64
#: Seconds between two looks at how far a part is.
_LOOK = 0.5


#: What an object is stored with, by the SHA-256 of its bytes where that is known before they leave.
Label = Callable[[str | None], dict[str, Any]]
#: Reads what is still here of a file: at most so many bytes (second) from a byte (first), none if it is not there.
Kept = Callable[[int, int], bytes]


class SliceOver(Exception):
    """The time of one task is used up. Everything that came is safe, another task goes on."""


#: After these what came stays.
_CUT = (HttpError, NotHad, SliceOver)


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


@dataclass(frozen=True)
class Sender:
    """The way into one bucket."""

    bucket: ports.Bucket
    #: Running hashes by upload id, with the size they stand at: the next slice often finds the same process.
    _digests: OrderedDict[str, tuple[int, Any]] = field(default_factory=OrderedDict, repr=False)

    @property
    def rests(self) -> Rests:
        """What lies beside files."""
        return Rests(self.bucket)

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

        `held` is called once all of a small file is there, before it leaves.
        """
        if at.upload_id or source.length is None or source.length > 2 * PART_BYTES:
            at = self._begun(at, label, ledger)
            try:
                return self._in_parts(source, at, label, ledger, until)
            except UploadGone:  # a lifecycle rule ended it: its parts are lost
                self._forget(at, ledger)
                raise
        late = max(until, monotonic()) + LINGER
        if source.tape.whole:
            return self._held(source, at, label, ledger, late, held)
        return self._as_it_comes(source, at, label, ledger, late)

    def _begun(self, at: Transfer, label: Label, ledger: Ledger) -> Transfer:
        if at.upload_id:
            return at
        upload_id = self.bucket.begin(at.key, **label(None))
        at = replace(at, upload_id=upload_id)
        try:
            ledger.save(at)
        except LeaseLost:  # whoever has the job now may have done all of it, and would not look for more uploads
            with suppress(StoreError):
                self.bucket.abort(at.key, upload_id)
            raise
        return at

    def kept_digest(self, at: Transfer) -> Any:
        """The running hash of what was sent by this process, if it was this one."""
        size, digest = self._digests.get(at.upload_id or "", (0, None))
        return digest.copy() if digest and size == at.size else None  # the slice may end without a part more

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

    def _put_aside(self, source: Source, at: Transfer, body: Again, label: Label, ledger: Ledger) -> None:
        told = Reported(body, source.report)
        with _of(told):
            self.rests.put(at, told, label(None), ledger.save)

    def _forget(self, at: Transfer, ledger: Ledger) -> None:
        """Of what lies beside a file nobody would know any more, so that goes first."""
        self.rests.drop(at.key)
        ledger.drop(at)

    # --- whole --------------------------------------------------------------------------------------------------
    def _held(
        self,
        source: Source,
        at: Transfer,
        label: Label,
        ledger: Ledger,
        late: float,
        held: Callable[[Kept, int], None],
    ) -> Sent:
        body = Body(source)
        try:
            while body.read():
                if monotonic() > late and not source.ended:
                    raise SliceOver
        except _CUT:
            if late < inf:
                self._put_aside(source, at, source.tape.body, label, ledger)
            raise
        digest = source.digest.hexdigest()
        held(source.tape.read, source.size)
        sent = Sent(replace(at, size=source.size, sha256=digest, whole=True), kept=source.tape.read)
        told, said = Reported(source.tape.body, source.report), label(digest)
        try:
            with _of(told):
                return replace(sent, etag=self.bucket.put_stream(at.key, told, source.size, **said))
        except Taken as fault:  # by the same, perhaps, of which the answer was lost
            stored = self.bucket.head(at.key)
            if stored and stored.metadata.get(SHA256) == digest:
                return replace(sent, etag=stored.etag)
            if not self._stays(at, said, stored, ledger):
                raise NotStored("another file lies where it belongs") from fault
        with _of(told):
            return replace(sent, etag=self.bucket.put(at.key, told, source.size, **said))

    def _as_it_comes(self, source: Source, at: Transfer, label: Label, ledger: Ledger, late: float) -> Sent:
        """Where nothing could be laid down."""
        assert source.length is not None
        try:
            with _of(source):
                etag = self.bucket.put_stream(at.key, _Timely(source, late), source.length, **label(None))
        except Taken as fault:
            if not self._stays(at, label(None), self.bucket.head(at.key), ledger):
                raise NotStored("another file lies where it belongs") from fault
            self._begun(at, label, ledger)  # what goes in parts takes the place of what is there
            raise SliceOver from fault
        except SliceOver:
            self._begun(at, label, ledger)  # nothing of it stays; in parts, as which it goes on, it will
            raise
        digest = source.digest.hexdigest()
        return Sent(replace(at, size=source.size, sha256=digest, whole=True), etag, source.tape.read)

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

    # --- in parts -----------------------------------------------------------------------------------------------
    def _in_parts(self, source: Source, at: Transfer, label: Label, ledger: Ledger, until: float) -> Sent:
        length, following = lengths(at, source.length, equal=self.bucket.equal_parts)
        # Where the first part is too long to be kept, a slice that was cut might have brought nothing.
        late = max(until, monotonic()) + LINGER if length <= PART_BYTES else inf
        with ThreadPoolExecutor(2, "part") as pool, Pipe(source, length, following) as pipe:
            under_way: _UnderWay | None = None
            while True:
                number = len(at.etags) + (2 if under_way else 1)
                part = pipe.part(length, kept=late < inf and length <= PART_BYTES)
                begun = _UnderWay(part, pool.submit(self._put_part, at, number, part, source))
                if under_way:
                    at = self._written(at, under_way, source, ledger)
                try:
                    mark = begun.drained(source, late, pipe.cut)
                except _CUT:
                    self._put_aside(source, at, Held(part.pieces), label, ledger)
                    raise
                under_way, over, length = begun, monotonic() > until, mark.next
                # A part of unknown length is held in memory: two would be too much.
                if mark.last or over or source.length is None:
                    at, under_way = self._written(at, begun, source, ledger, last=mark.last), None
                if mark.last:
                    return Sent(at, kept=source.tape.read)
                if over:
                    raise SliceOver

    def _put_part(self, at: Transfer, number: int, part: Part, source: Source) -> str:
        assert at.upload_id is not None
        with _of(source):
            if source.length is not None:
                return self.bucket.put_part(at.key, at.upload_id, number, part, part.length)
            pieces = list(iter(part.read, b""))
            return self.bucket.put_part(at.key, at.upload_id, number, Held(pieces), sum(map(len, pieces)))

    def _written(
        self, at: Transfer, sent: _UnderWay, source: Source, ledger: Ledger, *, last: bool = False
    ) -> Transfer:
        """After one more part, which now stands in the row."""
        etag = sent.etag(source)
        mark = sent.part.mark
        assert mark is not None
        at = at.with_part(etag, size=mark.size, crc32=mark.crc32, walk=mark.walk)
        if last:
            digest = mark.digest.hexdigest() if mark.digest else None
            at = replace(at, length=at.size, sha256=digest, whole=True)
        ledger.save(at)
        self._keep_digest(at, mark)
        return at

    def _keep_digest(self, at: Transfer, mark: Mark) -> None:
        if at.whole:
            self._digests.pop(at.upload_id or "", None)
        elif mark.digest and at.upload_id:
            self._digests[at.upload_id] = mark.size, mark.digest
            self._digests.move_to_end(at.upload_id)
            while len(self._digests) > _KEPT_DIGESTS:
                self._digests.popitem(last=False)


class _UnderWay:
    """A part that a thread is sending."""

    def __init__(self, part: Part, future: Future[str]) -> None:
        self.part = part
        self._future = future
        future.add_done_callback(lambda _: part.drained.set())  # or who waits for a part that failed waits for ever

    def drained(self, source: Source, late: float, cut: Callable[[], None]) -> Mark:
        """Wait until its last byte was handed out, and cut it where it is `late`. Raises `SliceOver` then, and what the
        sending raised.
        """
        while not self.part.drained.wait(_LOOK):
            source.report()
            if monotonic() > late:
                cut()
        if self.part.mark is None:
            self._future.result()
        assert self.part.mark is not None
        if not self.part.mark.full:
            raise SliceOver
        return self.part.mark

    def etag(self, source: Source) -> str:
        """Wait until the bucket has it. Raises what the sending raised."""
        while True:
            try:
                return self._future.result(_LOOK)
            except TimeoutError:
                if self._future.done():
                    raise
                source.report()


class _Timely:
    """The body of a file until its slice is over."""

    def __init__(self, source: Source, late: float) -> None:
        self._source = source
        self._body = Body(source)
        self._late = late

    def read(self, size: int = -1, /) -> bytes:
        """What came. Raises `SliceOver`."""
        if monotonic() > self._late:
            self._source.fault = SliceOver()  # or who sends hears only that the client failed
            raise self._source.fault
        return self._body.read(size)


def lengths(at: Transfer, length: int | None, *, equal: bool) -> tuple[int, Next]:
    """Bytes of the next part of a file of `length`, and of those after it, but for the last one. `equal`: all are."""
    if equal and at.etags:
        least = at.size // len(at.etags)
    else:
        left = 0 if length is None else length - at.size
        least = max(PART_BYTES, -(-left // max(_MOST_PARTS - len(at.etags), 1)))
    # What comes without a length is held, part by part.
    return least, partial(_fitting, least, least if equal or length is None else LONGEST_PART)


def _fitting(least: int, longest: int, count: int, seconds: float) -> int:
    """Bytes of a part that comes in time, where `count` came in so many seconds."""
    return max(min(int(count / max(seconds, 0.001) * _PART_SECONDS), longest), least)


@contextmanager
def _of(source: Source | Reported) -> Iterator[None]:
    """Raise what the source raised while a body of it was sent, not what the store's client made of that."""
    try:
        yield
    except StoreError as fault:
        if source.fault:
            raise source.fault from fault
        raise
