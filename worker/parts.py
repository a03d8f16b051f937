"""A file that goes into the bucket in parts, two of them at a time, each written down once the bucket has it.

They overlap: while the bucket thinks about one, the next is on its way. They are written down in their order. What
lies here already goes first; what is still coming is sent as it comes.

No slice waits for a slow source. Each begins with a short part, or with those that others may have sent already, and
those after it are as long as comes in a moment. What there is of the first one, or of a short one, when the slice is
over is put beside the file. So a slice that is cut has always brought something, and what was read in vain was read by
that slice.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from math import inf
from time import monotonic
from typing import Any

from infra.http import HttpError
from infra.store_errors import StoreError
from worker import ports
from worker.intents import Intents
from worker.jobs.transfer import Transfer
from worker.laid import Laid
from worker.pipe import Mark, Next, Part, Pipe
from worker.rests import Rests
from worker.sent import Label, Ledger, Sent, SliceOver
from worker.source import NotHad, Reported, Source, said_of
from worker.spool import Spool, spool
from worker.tape import Held, Pieces

#: Bytes of the shortest part, above S3's least of 5 MiB: so much is in memory of the first one of a slice. No less than
#: `HELD_BYTES`: of what is held no CRC-32 is taken.
PART_BYTES = 8 * 2**20
#: Bytes of the longest part: what is lost at most when a worker is killed. Each costs a round trip, and a row.
LONGEST_PART = 64 * 2**20
#: Seconds that a part should take.
_PART_SECONDS = 2
#: Of one upload.
_MOST_PARTS = 10_000
#: Parts under way at a time.
_AT_ONCE = 2
#: Seconds that a part may still take when a slice is over, and that each file has at least. More than `_PART_SECONDS`,
#: so that only a source that has become slower is cut.
LINGER = 3.0
#: After these what came stays.
CUT = (HttpError, NotHad, SliceOver)
_KEPT_DIGESTS = 64
#: Seconds between two looks at how far a part is.
_LOOK = 0.5


class Digests:
    """Running hashes by upload id, with the size they stand at: the next slice often finds the same process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[int, Any]] = OrderedDict()

    def of(self, at: Transfer) -> Any:
        """The one of what was sent by this process, if it was this one."""
        size, digest = self._kept.get(at.upload_id or "", (0, None))
        return digest.copy() if digest and size == at.size else None  # the slice may end without a part more

    def keep(self, at: Transfer, mark: Mark) -> None:
        """Keep it, as long as there is more to come."""
        if at.whole:
            self._kept.pop(at.upload_id or "", None)
        elif mark.digest and at.upload_id:
            self._kept[at.upload_id] = mark.size, mark.digest
            self._kept.move_to_end(at.upload_id)
            while len(self._kept) > _KEPT_DIGESTS:
                self._kept.popitem(last=False)


@dataclass(frozen=True)
class Parts:
    """The way into one bucket in parts."""

    bucket: ports.Bucket
    digests: Digests = field(default_factory=Digests)

    def send(self, source: Source, laid: Laid, at: Transfer, label: Label, ledger: Ledger, until: float) -> Sent:
        """Send what is left of `source`: what is `laid` down, then what comes. Raises `SliceOver`."""
        at = self.of_laid(source, laid.marks, at, ledger, until)
        return Sent(at, kept=source.tape.read) if at.whole else self._of_pipe(source, laid, at, label, ledger, until)

    def of_laid(self, source: Source, marks: Sequence[Mark], at: Transfer, ledger: Ledger, until: float) -> Transfer:
        """After the parts that lie here, up to `marks`. Raises `SliceOver` between two of them."""
        waiting = deque(marks)
        if marks:
            ends = [at.size, *(mark.size for mark in marks)]
            at = Intents.after(at, ledger).written(at, len(at.etags) + 1, [b - a for a, b in pairwise(ends)])
        with ThreadPoolExecutor(_AT_ONCE, "part") as pool:
            under_way: deque[tuple[Mark, Future[str]]] = deque()
            start = at.size
            while waiting or under_way:
                begun = len(at.etags) + len(under_way)
                over = begun > 0 and monotonic() > until
                if waiting and len(under_way) < _AT_ONCE and not over:
                    mark = waiting.popleft()
                    sending = pool.submit(self._put_laid, source, at, begun + 1, start, mark.size)
                    under_way.append((mark, sending))
                    start = mark.size
                    continue
                if not under_way:
                    raise SliceOver
                mark, sending = under_way.popleft()
                at = self._noted(at, _awaited(sending, source), mark, ledger)
        return at

    def of_short(self, at: Transfer) -> Transfer:
        """`at`, of which nothing was sent, with all its parts as short as they may be: longer ones were in vain."""
        least, _ = lengths(at, at.length, equal=self.bucket.equal_parts)
        return replace(at, intended=(least,) * -(-(at.length or 0) // least))

    def _put_laid(self, source: Source, at: Transfer, number: int, start: int, end: int) -> str:
        assert at.upload_id is not None
        body = Reported(source.tape.body(start, end), source.report)
        with said_of(body):
            return self.bucket.put_part(at.key, at.upload_id, number, body, end - start)

    def _of_pipe(self, source: Source, laid: Laid, at: Transfer, label: Label, ledger: Ledger, until: float) -> Sent:
        length, following = lengths(at, source.length, equal=self.bucket.equal_parts)
        before = [bytes(piece) for piece in iter(laid.rest.read, b"")] if source.size > at.size else []
        kept = _room(source.part_length(length, at.size)) if until < inf else None
        # Where the first part can't be kept, a slice that was cut might have brought nothing.
        intents, late = Intents.after(at, ledger), late_of(until) if kept else inf
        with ThreadPoolExecutor(_AT_ONCE, "part") as pool, Pipe(source, length, following, before, laid.known) as pipe:
            under_way: _UnderWay | None = None
            while True:
                number = len(at.etags) + (2 if under_way else 1)
                part = pipe.part(length, kept)
                at = intents.written(at, number, [length])
                begun = _UnderWay(part, pool.submit(self._put_piped, at, number, part, source))
                try:
                    if under_way:
                        at, under_way = self._noted(at, under_way.etag(source), under_way.mark, ledger), None
                    mark = begun.drained(source, late, pipe.cut)
                except StoreError as fault:
                    _not_taken(fault, at, intents, cut=None if under_way else part.come)
                    raise
                except CUT:
                    # If the part before was not heard of, this one does not begin where the row ends.
                    if under_way is None:
                        self._put_aside(part, source, intents.withdrawn(at), label, ledger)
                    raise
                under_way, over, length = begun, monotonic() > until, mark.next
                kept = Pieces() if late < inf and length <= PART_BYTES else None
                # A part of unknown length is held in memory: two would be too much.
                if mark.last or over or source.length is None:
                    try:
                        at, under_way = self._noted(at, begun.etag(source), mark, ledger), None
                    except StoreError as fault:
                        _not_taken(fault, at, intents)
                        raise
                if mark.last:
                    return Sent(at, kept=source.tape.read)
                if over:
                    raise SliceOver

    def _put_aside(self, part: Part, source: Source, at: Transfer, label: Label, ledger: Ledger) -> None:
        """Keep what came of a part that was cut, the next one after those of `at`. Raises `LeaseLost`."""
        if part.kept:
            Rests(self.bucket).put_of(source, at, part.kept.body(), label, ledger)

    def _put_piped(self, at: Transfer, number: int, part: Part, source: Source) -> str:
        assert at.upload_id is not None
        with said_of(source):
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
        self.digests.keep(at, mark)
        return at


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


def _awaited(future: Future[str], source: Source) -> str:
    while True:
        try:
            return future.result(_LOOK)
        except TimeoutError:
            if future.done():
                raise
            source.report()


def _not_taken(fault: StoreError, at: Transfer, intents: Intents, cut: int | None = None) -> None:
    """Write down that shorter parts follow where that may be of use. `cut`: so many bytes left of the one part that was
    under way, fewer than it has; None where all of it may have.
    """
    too_long = fault.is_of_length or (fault.broke_off and cut is not None and cut > PART_BYTES)
    if too_long or cut is not None:
        at = intents.withdrawn(at)
    # One that others have left behind left for the second time, and nobody heard of it: it would again and again.
    again = fault.broke_off and cut is None and intents.are_of_others(at)
    if (too_long or again) and at.intended and at.intended[0] > PART_BYTES:
        intents.given_up(at)


def _room(length: int) -> Pieces | Spool | None:
    """What keeps the first part of a slice until it is whole, so that no slice brings nothing. It is a long one where
    others may have sent it so; None where the disk has no room for it.
    """
    if length <= PART_BYTES:
        return Pieces()
    return spool(length) if length <= LONGEST_PART else None


def late_of(until: float) -> float:
    """When a slice that ends at `until` waits no more for what is under way; monotonic seconds."""
    return max(until, monotonic()) + LINGER


def lengths(at: Transfer, length: int | None, *, equal: bool) -> tuple[int, Next]:
    """Bytes of the next part of a file of `length`, and of those after it, but for the last one. `equal`: all are.
    Parts that others may have sent are as long as those were.
    """
    intended = deque(at.intended or ())
    if equal and at.etags:
        least = at.size // len(at.etags)
    elif equal and intended:
        least = intended[0]
    else:
        left = 0 if length is None else length - at.size
        least = max(PART_BYTES, -(-left // max(_MOST_PARTS - len(at.etags), 1)))
    # What comes without a length is held, part by part.
    free = partial(_fitting, least, least if equal or length is None else LONGEST_PART)
    if not intended:
        return least, free
    return intended.popleft(), lambda count, seconds: intended.popleft() if intended else free(count, seconds)


def _fitting(least: int, longest: int, count: int, seconds: float) -> int:
    """Bytes of a part that comes in time, where `count` came in so many seconds."""
    return max(min(int(count / max(seconds, 0.001) * _PART_SECONDS), longest), least)
