"""Copies one result file into the bucket, and proves it there.

1. While the file is downloaded, its bytes are counted and hashed (SHA-256, CRC-32), and the boxes of an MP4 checked.
2. The bucket is asked what it holds now: length and ETag must be those of what was sent.
3. `worker.proof` decodes its first and last frame; of a file that is whole on this machine, while it is being sent.

Progress is written to a row before the first byte is sent and after each part, so another worker can continue. A
running SHA-256 can't be stored in a row: a file that was continued is read back from the bucket once and hashed. The
CRC-32 can be stored, and shows that what is read back is what was sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property, partial
from typing import Self

from infra.boxes import NotMedia
from infra.http import Blocked, HttpError, NoPlace
from infra.log import logger
from infra.store_errors import StoreError
from worker.jobs import keys
from worker.jobs.model import OTHER, Job, ResultFile
from worker.jobs.transfer import Transfer
from worker.kling.wire import Output
from worker.label import JOB, SHA256, content_type, label
from worker.ports import Bucket, Http
from worker.previews import NAMES, Previews
from worker.proof import Proof, Prover
from worker.read_back import ReadBack
from worker.relabel import Relabeller
from worker.sender import Sender
from worker.sent import Kept, Ledger, Sent, SliceOver
from worker.source import NotHad, NotStored, Progress, Source, SourceChanged, Unproven, resume_headers
from worker.spool import DiskFault
from worker.watched import Watched

log = logger(__name__)

#: A fetch that takes longer than this is given up; what it brought is kept.
_FETCH_LIMIT = timedelta(hours=1)
#: Threads for proofs at most, more than there are ever copies at once: a copy that waited for one would lose its lease.
#: They are made when needed, and used again.
_PROOFS = 1000
#: The one type of film that has no MP4 boxes to check.
UNBOXED = "video/webm"


@dataclass(frozen=True)
class Arrived:
    """A file that the bucket holds just as it was downloaded; its content is not proven yet."""

    key: str
    size: int
    sha256: str
    kept: Kept  #: reads what is still here of it
    etag: str  #: of the object
    content_type: str
    labelled: bool  #: whether its metadata name its SHA-256


@dataclass(frozen=True)
class _Order:
    """One output that is to be copied."""

    job: Job
    output: Output
    ledger: Ledger
    progress: Progress
    until: float  #: monotonic seconds

    def __str__(self) -> str:
        return f"{self.output.kind} {self.output.ordinal}"


@dataclass(frozen=True)
class Copier:
    """Copies result files into one bucket."""

    http: Http
    bucket: Bucket
    key_template: str
    largest: int  #: bytes
    slowest: int = 0  #: bytes a second
    slice_seconds: float = 20.0  #: of copying in one task
    previews: Previews = field(default_factory=Previews)
    ending: Callable[[], bool] = lambda: False  #: whether this worker is to end
    _others: dict[str, Copier] = field(default_factory=dict, init=False, repr=False)
    _aside: Executor = field(default_factory=lambda: ThreadPoolExecutor(_PROOFS, "proof"), init=False, repr=False)

    def into(self, bucket: str) -> Copier:
        """The copier for another bucket of the same store; itself for an empty name."""
        if not bucket or bucket == self.bucket.bucket:
            return self
        return self._others.setdefault(bucket, replace(self, bucket=self.bucket.of(bucket)))

    @cached_property
    def relabeller(self) -> Relabeller:
        """Writes SHA-256s into metadata after the upload, where they were known too late."""
        return Relabeller(self.bucket)

    @cached_property
    def sender(self) -> Sender:
        """The way into the bucket."""
        return Sender(self.bucket)

    @cached_property
    def prover(self) -> Prover:
        """What looks at the files."""
        return Prover(self.bucket, self.previews)

    def transfer(self, job: Job, output: Output, kind: str | None = None) -> Transfer:
        """The transfer of an output of which nothing was sent. `kind`: its content type, where that is known."""
        key = keys.file_key(
            self.key_template,
            job,
            kind=output.kind,
            variant=output.variant,
            ordinal=output.ordinal,
            content_type=kind or content_type(output),
        )
        return Transfer(output.kind, output.variant, output.ordinal, self.bucket.bucket, key)

    def is_place(self, begun: Transfer, job: Job, output: Output) -> bool:
        """Whether `output` would still get the bucket and key under which it was `begun`, whatever its content type."""
        kinds = (*keys.EXTENSIONS, "application/octet-stream")
        places = (self.transfer(job, output, kind) for kind in kinds)
        return any((begun.bucket, begun.key) == (one.bucket, one.key) for one in places)

    def copy(
        self, job: Job, output: Output, begun: Transfer | None, ledger: Ledger, progress: Progress, *, until: float
    ) -> ResultFile:
        """Store `output` and its poster, from where `begun` stands; the proven file. `until`: monotonic seconds.

        Raises `Unproven`, `StoreError`, `LeaseLost`, `SliceOver`.
        """
        book = Watched(ledger, progress, begun or self.transfer(job, output))
        order = _Order(job, output, book, book.progress, until)
        try:
            with _Proving(self._aside, self.prover, order) as proving:
                arrived = self._arrive(order, proving, begun)
                proving.begin(arrived.key, arrived.kept, arrived.size)
                self._relabel(order, arrived)
            proof = proving.result()
        except (HttpError, DiskFault) as fault:
            raise NotHad(f"{order}: {fault}", passes=not isinstance(fault, Blocked | NoPlace)) from fault
        except (NotMedia, NotStored, SourceChanged) as fault:
            self._begin_anew(book.at, ledger)
            raise Unproven(f"{order}: {fault}") from fault
        except (Unproven, StoreError, SliceOver):
            raise
        except Exception as fault:  # what a decoder raises of bytes from outside must not look like a death
            if book.failed:
                raise
            log.exception("archive.unforeseen", job=job.id, output=str(order))
            self._begin_anew(book.at, ledger)
            raise Unproven(f"{order}: {type(fault).__name__}") from fault
        return self._result(output, arrived, proof)

    def _result(self, output: Output, arrived: Arrived, proof: Proof) -> ResultFile:
        facts = proof.facts
        return ResultFile(
            kind=output.kind,
            variant=output.variant,
            ordinal=output.ordinal,
            provider_id=output.id,
            key=arrived.key,
            bucket=self.bucket.bucket,
            size=arrived.size,
            sha256=arrived.sha256,
            content_type=arrived.content_type,
            container=facts.container or None,
            duration=facts.duration,
            width=facts.width,
            height=facts.height,
            fps=facts.fps,
            video_codec=facts.video_codec,
            audio_codec=facts.audio_codec,
            poster_key=proof.beside.get("poster"),
            sheet_key=proof.beside.get("sheet"),
            listed=output.listed,
            damaged_frames=proof.damaged_frames,
        )

    def _begin_anew(self, at: Transfer, ledger: Ledger) -> None:
        # Of which nothing counts as sent, or it is adopted; parts of it may lie there, and be on their way.
        transfer = replace(at.afresh(), upload_id=at.upload_id, intended=None if at.upload_id else ())
        ledger.save(transfer)  # only the holder of the lease may throw anything away
        try:
            ledger.alive()
            self.bucket.end_uploads(transfer.key, known=transfer.upload_id)
            transfer = at.afresh()  # a store may take parts of an upload that is an object by now
            ledger.save(transfer)
            self.clear(transfer, ledger.alive)
        except StoreError as fault:  # what does not hold is not to be waited for: its row stays, and says to clear it
            ledger.unsure(fault)
            log.warning("archive.not_cleared", key=transfer.key, reason=str(fault))
        else:
            ledger.drop(transfer)

    def clear(self, transfer: Transfer, alive: Callable[[], None]) -> None:
        """Leave nothing of a file that was not proven: no object, no picture of it, and no upload. `alive`, called
        before each call to the bucket, raises what it must where by now another one may have stored it there.
        """
        alive()
        self.bucket.end_uploads(transfer.key, known=transfer.upload_id)
        beside = (keys.beside(transfer.key, name) for name in NAMES)
        for key in (transfer.key, *beside, keys.rest(transfer.key)):
            alive()
            self.bucket.delete(key)

    # --- into the bucket ----------------------------------------------------------------------------------------
    def _arrive(self, order: _Order, proving: _Proving, begun: Transfer | None) -> Arrived:
        """The file, once the bucket has all of it."""
        if begun is None:
            return self._sent(order, proving, None)
        arrived = self._adopt(order, begun) or self._sent(order, proving, begun)
        self.sender.rests.drop(arrived.key)
        return arrived

    def _sent(self, order: _Order, proving: _Proving, begun: Transfer | None) -> Arrived:
        sent = Sent(begun) if begun and begun.whole else self._send(order, proving, begun)
        if sent.at.upload_id:
            sent = self.sender.complete(sent, order.ledger, alone=begun is None)
        return self._there(order, sent)

    def _adopt(self, order: _Order, begun: Transfer) -> Arrived | None:
        """A file that a worker had stored completely, and was killed before it could write that down; else None."""
        if begun.upload_id and not begun.whole:
            return None
        stored = self.bucket.seen(begun.key)
        if stored is None or stored.metadata.get(JOB) != order.job.id or stored.size != begun.length:
            return None
        if begun.upload_id and stored.metadata.get(SHA256) != begun.sha256:  # whether it is that upload, nobody heard
            begun = replace(begun, sha256=None)
        return self._there(order, Sent(begun))

    def _send(self, order: _Order, proving: _Proving, begun: Transfer | None) -> Sent:
        at = begun or self.transfer(order.job, order.output)
        if at.intended is None:  # it gets an upload of its own
            log.warning("archive.begun_anew", job=order.job.id, reason="what is on its way there is not known")
            at = at.afresh()
        try:
            return self._fetch(order, proving, at, begun)
        except SourceChanged as reason:  # nothing of what was sent counts
            log.warning("archive.begun_anew", job=order.job.id, reason=str(reason))
            order.ledger.restarted(at)
            return self._fetch(replace(order, until=math.inf), proving, at.afresh(), begun)

    def _fetch(self, order: _Order, proving: _Proving, at: Transfer, begun: Transfer | None) -> Sent:
        job, output = order.job, order.output
        rest = self.sender.rests.get(at)
        if rest is None:
            at = replace(at, rest=None)
        with self.http.stream(
            output.url, resume_headers(at), seconds=_FETCH_LIMIT.total_seconds(), slowest=self.slowest
        ) as stream:
            source = Source(
                stream,
                at,
                largest=self.largest,
                walked=output.kind == "video",
                digest=self.sender.parts.digests.of(at),
                progress=order.progress,
                rest=rest or (),
            )
            if not source.resumed:
                source.check(media=output.kind != OTHER)
            kind = content_type(output) if source.size else content_type(output, source.head())
            if kind == UNBOXED and not source.size:
                source.boxes = None
            if not source.resumed:
                if at.come:
                    order.ledger.restarted(at)
                at = self._anew(begun, self.transfer(job, output, kind))
                at = replace(at, intended=None if begun and begun.intended is None else ())
            at = replace(at, length=source.length, validator=source.validator or at.validator)
            if not source.resumed:
                order.ledger.save(at)
            return self.sender.send(
                source,
                at,
                order.ledger,
                label=partial(label, job, output, at.key, kind),
                # A source that can't be resumed has to come in this one fetch, however long that takes.
                until=order.until if source.resumable else math.inf,
                held=partial(proving.begin, at.key),
            )

    def _anew(self, begun: Transfer | None, at: Transfer) -> Transfer:
        """Start a file from byte 0: it is new, or its source has changed or can't be resumed. What was begun ends."""
        if begun is None:
            return at
        self.sender.rests.drop(begun.key)
        if begun.upload_id and not begun.etags and begun.intended == () and begun.key == at.key:
            return replace(at, upload_id=begun.upload_id)  # nothing is in it yet, or on its way
        self.bucket.end_uploads(begun.key, known=begun.upload_id)
        return at

    # --- out of the bucket --------------------------------------------------------------------------------------
    def _there(self, order: _Order, sent: Sent) -> Arrived:
        """Ask the bucket what it holds, which must be what was sent. Raises `NotStored`, or `Unproven`."""
        at, stored = sent.at, self.bucket.head(sent.at.key)
        if stored and stored.metadata.get(JOB) != order.job.id:  # not ours, so not ours to throw away
            raise Unproven(f"{order}: the bucket holds another job's file there")
        if stored is None or stored.size != at.length:
            raise NotStored("the bucket does not hold what was sent")
        digest = at.sha256
        # rclone gives an object that came in parts another ETag afterwards: then only its bytes can prove it.
        if digest is None or (sent.etag and stored.etag != sent.etag):
            found = ReadBack(self.bucket, self.ending).digest(at, order.progress, until=order.until)
            if digest not in (None, found):
                raise NotStored("the bucket holds another version than it took")
            digest = found
            order.ledger.save(replace(at, upload_id=None, sha256=digest, whole=True))  # it is not read twice
        said = stored.metadata.get(SHA256)
        if said and said != digest:
            raise NotStored("the bucket holds another file than was sent")
        kind = stored.content_type or content_type(order.output)
        return Arrived(at.key, stored.size, digest, sent.kept, stored.etag, kind, labelled=said == digest)

    def _relabel(self, order: _Order, arrived: Arrived) -> None:
        """Write the SHA-256 into the object's metadata, where it was known only after the upload: the store copies the
        object onto itself. A file whose store refuses that is archived all the same.
        """
        if arrived.labelled or arrived.size > self.bucket.relabel_bytes or self.relabeller.refusal:
            return
        named = label(order.job, order.output, arrived.key, arrived.content_type, arrived.sha256)
        if self.relabeller.asked_in_vain(arrived.key, arrived.etag, named):
            return
        stored = self.bucket.head(arrived.key)
        if stored is None or stored.size != arrived.size or stored.metadata.get(SHA256) != arrived.sha256:
            raise NotStored("the bucket does not hold what was copied in it")


class _Proving:
    """The proof of one file, which begins in another thread as soon as its bytes can be had."""

    def __init__(self, aside: Executor, prover: Prover, order: _Order) -> None:
        self._aside = aside
        self._prove: Callable[..., Proof] = partial(prover.prove, order.job, order.output)
        self._progress = order.progress
        self._future: Future[Proof] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the proof even if the copy failed: it must store no picture after the next worker has cleared up."""
        if self._future is not None:
            wait([self._future])

    def begin(self, key: str, kept: Kept, size: int) -> None:
        """Begin, unless it has begun already."""
        if self._future is None:
            alive = partial(self._progress, size, size)
            self._future = self._aside.submit(self._prove, key, size, kept, alive=alive)

    def result(self) -> Proof:
        """Wait for its end. Raises what it raised."""
        assert self._future is not None
        return self._future.result()
