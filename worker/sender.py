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
from io import SEEK_SET
from math import inf
from time import monotonic
from typing import Any, TypeVar

from infra.http import HttpError
from infra.store_errors import StoreError, Taken, UploadGone
from worker import ports
from worker.jobs.transfer import Transfer
from worker.label import JOB, SHA256
from worker.laid import Laid
from worker.pipe import Mark, Next, Part, Pipe
from worker.rests import Rests
from worker.sent import Kept, Label, Ledger, Sent, SliceOver
from worker.source import Again, LeaseLost, NotHad, NotStored, Reported, Source
from worker.tape import Held

#: Bytes of the shortest part, above S3's least of 5 MiB: so much is in memory of the first one of a slice. No less than
#: `HELD_BYTES`: of what is held no CRC-32 is taken.
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
#: After these what came stays.
_CUT = (HttpError, NotHad, SliceOver)
#: Seconds between two looks at how far a part is.
_LOOK = 0.5
#: How a store, or what stands before it, says that it takes no request of this length; that not all of one came, or
#: nothing.
_TOO_LARGE = frozenset({"413", "EntityTooLarge"})
_BROKEN_OFF = frozenset({"", "IncompleteBody", "RequestTimeout"})

_Done = TypeVar("_Done")


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

        `held` is called once all of a file is there, before it leaves.
        """
        laid = Laid(source, PART_BYTES, at.come)
        if source.tape.whole and not at.upload_id:
            self._lay(laid, source, at, label, ledger, until)
            if source.ended:
                held(source.tape.read, source.size)
                label = partial(_knowing, label, source.digest.hexdigest())
                if sent := self._in_one_piece(source, at, label(None), ledger, until):
                    return sent
        at = self._begun(at, label, ledger)
        try:
            at = self._from_here(laid, source, at, ledger, until)
            return (
                Sent(at, kept=source.tape.read) if at.whole else self._in_parts(source, laid, at, label, ledger, until)
            )
        except UploadGone:  # a lifecycle rule ended it: its parts are lost
            self._forget(at, ledger)
            raise

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

    # --- laid down ----------------------------------------------------------------------------------------------
    def _lay(self, laid: Laid, source: Source, at: Transfer, label: Label, ledger: Ledger, until: float) -> None:
        """Have all of it here, or what came in half of the time that there is."""
        late = _late(until)
        try:
            _beside(source, partial(laid.lay, _halfway(late), late))
        except _CUT:
            if late < inf:
                if laid.marks:
                    at = self._from_here(laid, source, self._begun(at, label, ledger), ledger, inf)
                self._put_aside(source, at, laid.rest, label, ledger)
            raise

    def _in_one_piece(
        self, source: Source, at: Transfer, said: dict[str, Any], ledger: Ledger, until: float
    ) -> Sent | None:
        """The file, of which all is here; None where it has to go in parts: the bucket takes it too slowly, or a
        connection breaks each time, though not before as much as a part has left.
        """
        digest = source.digest.hexdigest()
        sent = Sent(replace(at, size=source.size, sha256=digest, whole=True), kept=source.tape.read)
        body = _InTime(source, _halfway(_late(until)) if source.size > PART_BYTES else inf)
        try:
            with _of(body):
                etag = _beside(source, partial(self.bucket.put_stream, at.key, body, source.size, **said))
                return replace(sent, etag=etag)
        except SliceOver:
            return None
        except Taken as fault:  # by the same, perhaps, of which the answer was lost
            stored = self.bucket.head(at.key)
            if stored and stored.metadata.get(SHA256) == digest:
                return replace(sent, etag=stored.etag)
            if not self._stays(at, said, stored, ledger):
                raise NotStored("another file lies where it belongs") from fault
        except StoreError as fault:
            if fault.code in _TOO_LARGE or (fault.code in _BROKEN_OFF and body.most > PART_BYTES):
                return None
            raise
        over = Reported(source.tape.body(), source.report)
        with _of(over):
            return replace(sent, etag=self.bucket.put(at.key, over, source.size, **said))

    def _from_here(self, laid: Laid, source: Source, at: Transfer, ledger: Ledger, until: float) -> Transfer:
        """After the parts that lie here. Raises `SliceOver` between two of them."""
        assert at.upload_id is not None
        for mark in laid.marks:
            if at.etags and monotonic() > until:
                raise SliceOver
            body = Reported(source.tape.body(at.size, mark.size), source.report)
            put = partial(self.bucket.put_part, at.key, at.upload_id, len(at.etags) + 1, body, mark.size - at.size)
            with _of(body):
                etag = _beside(source, put)
            at = self._noted(at, etag, mark, ledger)
        return at

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
    def _in_parts(self, source: Source, laid: Laid, at: Transfer, label: Label, ledger: Ledger, until: float) -> Sent:
        length, following = lengths(at, source.length, equal=self.bucket.equal_parts)
        before = [bytes(piece) for piece in iter(laid.rest.read, b"")] if source.size > at.size else []
        # Where the first part is too long to be kept, a slice that was cut might have brought nothing.
        late = _late(until) if length <= PART_BYTES else inf
        with ThreadPoolExecutor(2, "part") as pool, Pipe(source, length, following, before) as pipe:
            under_way: _UnderWay | None = None
            while True:
                number = len(at.etags) + (2 if under_way else 1)
                part = pipe.part(length, kept=late < inf and length <= PART_BYTES)
                begun = _UnderWay(part, pool.submit(self._put_part, at, number, part, source))
                if under_way:
                    at = self._noted(at, under_way.etag(source), under_way.mark, ledger)
                try:
                    mark = begun.drained(source, late, pipe.cut)
                except _CUT:
                    self._put_aside(source, at, Held(part.pieces), label, ledger)
                    raise
                under_way, over, length = begun, monotonic() > until, mark.next
                # A part of unknown length is held in memory: two would be too much.
                if mark.last or over or source.length is None:
                    at, under_way = self._noted(at, begun.etag(source), mark, ledger), None
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

    def _noted(self, at: Transfer, etag: str, mark: Mark, ledger: Ledger) -> Transfer:
        """After one more part, which now stands in the row."""
        at = at.with_part(etag, size=mark.size, crc32=mark.crc32, walk=mark.walk)
        if mark.last:
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

    @property
    def mark(self) -> Mark:
        """What is known at its end, once it is drained."""
        assert self.part.mark is not None
        return self.part.mark

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
        if not self.mark.full:
            raise SliceOver
        return self.mark

    def etag(self, source: Source) -> str:
        """Wait until the bucket has it. Raises what the sending raised."""
        return _awaited(self._future, source)


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


def _beside(source: Source, work: Callable[[], _Done]) -> _Done:
    """What `work` gives. A longer file may be silent for longer than a lease lasts, on its way here or while a bucket
    thinks about it: there another thread does it, and meanwhile it is reported that it goes on.
    """
    if source.length is None or source.length <= PART_BYTES:
        return work()
    with ThreadPoolExecutor(1, "beside") as pool:
        try:
            return _awaited(pool.submit(work), source)
        except BaseException:
            source.stop()  # or a source that says nothing would be waited for
            raise


def _awaited(future: Future[_Done], source: Source) -> _Done:
    while True:
        try:
            return future.result(_LOOK)
        except TimeoutError:
            if future.done():
                raise
            source.report()


def _late(until: float) -> float:
    """When a slice that ends at `until` waits no more for what is under way; monotonic seconds."""
    return max(until, monotonic()) + LINGER


def _halfway(end: float) -> float:
    now = monotonic()
    return now + (end - now) / 2


def _knowing(label: Label, digest: str, _unknown: None = None) -> dict[str, Any]:
    return label(digest)


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
