"""Carry one output of a task into the bucket, and prove it there.

On the way: length, SHA-256 and CRC-32 of every byte, the boxes of an MP4 walked. Then, out of the bucket: facts, the
first and the last frame decoded, a poster and a contact sheet. A part is sent while it comes, so memory holds a piece
of it at most.

How far it is stands in a row before the first byte leaves and after each part. A file that was taken up by another
worker has no running SHA-256, which can't be put in a row: it is then read back from the bucket once, and the CRC-32,
which can, says that what lies there is what was sent.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from time import monotonic
from typing import Any, Protocol
from urllib.parse import urlsplit

from infra.http import HttpError
from infra.media import MediaFacts, NotMedia, probe, probe_film, probe_image
from infra.object_store import StoreError, UploadGone
from worker.jobs import keys
from worker.jobs.model import Job, ResultFile
from worker.jobs.transfer import Transfer
from worker.kling.wire import Output
from worker.ports import Body, Bucket, Http
from worker.previews import NAMES, Previews
from worker.source import Progress, Source, SourceChanged, Unproven, resume_headers

_BY_EXTENSION = {extension: kind for kind, extension in keys.EXTENSIONS.items()} | {"jpeg": "image/jpeg"}
_DEFAULT = {"video": "video/mp4", "image": "image/png", "audio": "audio/mpeg"}
_LARGEST_IMAGE = 64 * 2**20
#: Bytes of the shortest part, and of the largest file that goes in one piece; above S3's least of 5 MiB.
PART_BYTES = 16 * 2**20
#: Bytes of the longest part: what is lost at most when a worker is killed. 10,000 of them hold 625 GiB.
LONGEST_PART = 64 * 2**20
#: So many parts a file has about, where the limits allow: each costs a round trip, and a row.
_PARTS = 8
#: Bytes of the largest file that is held in memory before it leaves, so that its metadata can carry its SHA-256.
HELD_BYTES = 8 * 2**20
#: One fetch that takes longer than this is given up; what came of it stays.
_FETCH_LIMIT = timedelta(hours=1)
#: A film may be so much longer or shorter than the provider says, in seconds and as a part of it.
_DURATION_SLACK = (1.0, 0.2)
_KEPT_DIGESTS = 64


class SliceOver(Exception):
    """The time of one task is used up. Everything that came is safe, another task goes on."""


class Ledger(Protocol):
    """Where it is written how far a file is."""

    def save(self, transfer: Transfer) -> None:
        """Write it. Raises `LeaseLost`."""

    def drop(self, transfer: Transfer) -> None:
        """Forget it. Raises `LeaseLost`."""


@dataclass(frozen=True)
class Copier:
    """What copying needs."""

    http: Http
    bucket: Bucket
    key_template: str
    largest: int  #: bytes
    slowest: int = 0  #: bytes a second
    slice_seconds: float = 20.0  #: of copying in one task
    previews: Previews = field(default_factory=Previews)
    #: Running hashes by upload id, with the size they stand at: the next slice often finds the same process.
    _digests: OrderedDict[str, tuple[int, Any]] = field(default_factory=OrderedDict, repr=False)

    def transfer(self, job: Job, output: Output) -> Transfer:
        """The transfer of an output of which nothing was sent."""
        key = keys.file_key(
            self.key_template,
            job,
            kind=output.kind,
            variant=output.variant,
            ordinal=output.ordinal,
            content_type=_content_type(output),
        )
        return Transfer(output.kind, output.variant, output.ordinal, self.bucket.bucket, key)

    def copy(
        self, job: Job, output: Output, begun: Transfer | None, ledger: Ledger, progress: Progress, *, until: float
    ) -> ResultFile:
        """Store `output` and its poster, from where `begun` stands; the proven file. `until`: monotonic seconds.

        Raises `Unproven`, `StoreError`, `LeaseLost`, `SliceOver`.
        """
        try:
            size, digest = self._arrive(job, output, begun, ledger, progress, until)
            facts, beside = self._prove(job, output, (begun or self.transfer(job, output)).key, size, progress)
        except HttpError as fault:
            raise Unproven(f"{output.kind} {output.ordinal}: {fault}") from fault
        except (NotMedia, SourceChanged) as fault:
            self._begin_anew(self.transfer(job, output), ledger)
            raise Unproven(f"{output.kind} {output.ordinal}: {fault}") from fault
        fresh = self.transfer(job, output)
        return ResultFile(
            kind=output.kind,
            variant=output.variant,
            ordinal=output.ordinal,
            provider_id=output.id,
            key=fresh.key,
            bucket=fresh.bucket,
            size=size,
            sha256=digest,
            content_type=_content_type(output),
            container=facts.container,
            duration=facts.duration,
            width=facts.width,
            height=facts.height,
            fps=facts.fps,
            video_codec=facts.video_codec,
            audio_codec=facts.audio_codec,
            poster_key=beside.get("poster"),
            sheet_key=beside.get("sheet"),
        )

    def _begin_anew(self, transfer: Transfer, ledger: Ledger) -> None:
        ledger.save(transfer)  # only the holder of the lease may throw anything away
        self.clear(transfer)
        ledger.drop(transfer)

    def clear(self, transfer: Transfer) -> None:
        """Leave nothing of a file that was not proven: no object, no picture of it, and no upload."""
        for key in (transfer.key, *(keys.beside(transfer.key, name) for name in NAMES)):
            self.bucket.delete(key)
        self._abort(transfer.key)

    def _abort(self, key: str) -> None:
        """End every upload to `key`. There may be some that no row knows: their worker was killed, or the answer to
        the call that began them was lost.
        """
        for pending in self.bucket.pending(key):
            if pending.key == key:
                self.bucket.abort(key, pending.upload_id)

    # --- into the bucket ----------------------------------------------------------------------------------------
    def _arrive(
        self, job: Job, output: Output, begun: Transfer | None, ledger: Ledger, progress: Progress, until: float
    ) -> tuple[int, str]:
        """Size and SHA-256 of the file, once the bucket has all of it."""
        if begun and (found := self._adopt(job, begun, progress)):
            return found
        sent = begun if begun and begun.whole else self._send(job, output, begun, ledger, progress, until)
        if sent.upload_id:
            self._complete(sent, ledger)
        return self._there(job, sent, progress)

    def _adopt(self, job: Job, begun: Transfer, progress: Progress) -> tuple[int, str] | None:
        """The file that a killed worker had stored and could no longer tell of."""
        if begun.upload_id and not begun.whole:
            return None
        stored = self.bucket.head(begun.key)
        if stored is None or stored.metadata.get("reelhook-job") != job.id or stored.size != begun.length:
            return None
        return self._there(job, begun, progress)

    def _send(
        self, job: Job, output: Output, begun: Transfer | None, ledger: Ledger, progress: Progress, until: float
    ) -> Transfer:
        at = begun or self.transfer(job, output)
        with self.http.stream(
            output.url, resume_headers(at), seconds=_FETCH_LIMIT.total_seconds(), slowest=self.slowest
        ) as stream:
            source = Source(
                stream,
                at,
                largest=self.largest,
                walked=output.kind == "video",
                digest=self._kept_digest(at),
                progress=progress,
            )
            if not source.resumed:
                if begun:  # the source has changed, or can't go on from a byte
                    self._abort(at.key)
                at = replace(at.afresh(), length=source.length, validator=source.validator)
                ledger.save(at)
            if source.length is not None and source.length <= PART_BYTES:
                return self._send_whole(job, output, at, source)
            return self._send_parts(job, output, at, source, ledger, until)

    def _send_whole(self, job: Job, output: Output, at: Transfer, source: Source) -> Transfer:
        body, length = source.take(PART_BYTES)
        if length <= HELD_BYTES:
            held = b"".join(iter(body.read, b""))
            self.bucket.put(at.key, held, **_label(job, output, at.key, source.digest.hexdigest()))
        else:
            with _of(source):
                self.bucket.put_stream(at.key, body, length, **_label(job, output, at.key))
        return replace(at, size=length, crc32=source.crc32, sha256=source.digest.hexdigest(), whole=True)

    def _send_parts(
        self, job: Job, output: Output, at: Transfer, source: Source, ledger: Ledger, until: float
    ) -> Transfer:
        if not at.upload_id:
            at = replace(at, upload_id=self.bucket.begin(at.key, **_label(job, output, at.key)))
            ledger.save(at)
        assert at.upload_id is not None
        while True:
            at = self._send_part(at, source, ledger)
            if source.ended:
                break
            ledger.save(at)
            self._keep_digest(at, source)
            if monotonic() > until:
                raise SliceOver
        digest = source.digest.hexdigest() if source.digest else None
        at = replace(at, length=at.size, sha256=digest, whole=True)
        ledger.save(at)
        return at

    def _send_part(self, at: Transfer, source: Source, ledger: Ledger) -> Transfer:
        assert at.upload_id is not None
        body: Body
        with _of(source):
            body, length = source.take(_part_bytes(source.length))
            try:
                etag = self.bucket.put_part(at.key, at.upload_id, len(at.etags) + 1, body, length)
            except UploadGone:  # a lifecycle rule ended it: its parts are lost
                ledger.drop(at)
                raise
        walk = source.boxes.state() if source.boxes else None
        return at.with_part(etag, size=source.size, crc32=source.crc32, walk=walk)

    def _complete(self, sent: Transfer, ledger: Ledger) -> None:
        assert sent.upload_id is not None
        try:
            self.bucket.complete(sent.key, sent.upload_id, sent.etags)
        except UploadGone:
            # Completed before, and the answer was lost; or ended by somebody else, and all must be sent again.
            if self.bucket.head(sent.key) is None:
                ledger.drop(sent)
                raise
        self._abort(sent.key)

    def _keep_digest(self, at: Transfer, source: Source) -> None:
        if source.digest and at.upload_id:
            self._digests[at.upload_id] = at.size, source.digest.copy()
            self._digests.move_to_end(at.upload_id)
            while len(self._digests) > _KEPT_DIGESTS:
                self._digests.popitem(last=False)

    def _kept_digest(self, at: Transfer) -> Any:
        size, digest = self._digests.pop(at.upload_id or "", (None, None))
        return digest if size == at.size else None

    # --- out of the bucket --------------------------------------------------------------------------------------
    def _there(self, job: Job, sent: Transfer, progress: Progress) -> tuple[int, str]:
        """Size and SHA-256 of what lies in the bucket, which must be what was sent."""
        stored = self.bucket.head(sent.key)
        if stored is None or stored.size != sent.length or stored.metadata.get("reelhook-job") != job.id:
            raise Unproven(f"{sent.kind} {sent.ordinal}: the bucket does not hold what was sent")
        return stored.size, sent.sha256 or self._read_back(sent, progress)

    def _read_back(self, sent: Transfer, progress: Progress) -> str:
        digest, crc32, size = sha256(), 0, 0
        for chunk in self.bucket.chunks(sent.key):
            digest.update(chunk)
            crc32 = zlib.crc32(chunk, crc32)
            size += len(chunk)
            progress(size, sent.length)
        if size != sent.length or (sent.whole and crc32 != sent.crc32):
            raise NotMedia("is not in the bucket as it was sent")
        return digest.hexdigest()

    def _prove(
        self, job: Job, output: Output, key: str, size: int, progress: Progress
    ) -> tuple[MediaFacts, dict[str, str]]:
        """The facts of the file, and the keys of what now lies beside it, by name."""
        beside: dict[str, str] = {}
        with self.bucket.open(key, size) as file:
            facts, first = _facts(output, file, size)
            _agree(output, facts)
            if output.kind == "video":
                for name, picture in self.previews.of(file, facts, first, lambda: progress(size, size)):
                    beside[name] = self._put_beside(job, output, keys.beside(key, name), picture)
        return facts, beside

    def _put_beside(self, job: Job, output: Output, key: str, picture: bytes) -> str:
        metadata = _metadata(job, output, sha256(picture).hexdigest())
        filename = keys.download_name(job, key)
        self.bucket.put(key, picture, content_type="image/jpeg", filename=filename, metadata=metadata)
        return key


class _of:  # noqa: N801 - reads as a word in `with _of(source):`
    """What the source raised while a body of it was sent, not what the store's client made of that."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, fault: object, trace: object) -> None:
        if isinstance(fault, StoreError) and self._source.fault:
            raise self._source.fault


def _facts(output: Output, file: Any, size: int) -> tuple[MediaFacts, Any]:
    """What the file is, and a film's first frame."""
    if output.kind == "video":
        return probe_film(file)
    if output.kind != "image":
        return probe(file), None
    if size > _LARGEST_IMAGE:
        raise NotMedia("is too large for a picture")
    return probe_image(file.read()), None


def _agree(output: Output, facts: MediaFacts) -> None:
    said = float(output.duration) if output.duration else None
    if said and facts.duration and abs(said - facts.duration) > max(_DURATION_SLACK[0], said * _DURATION_SLACK[1]):
        raise NotMedia(f"lasts {facts.duration} s, and the provider says {output.duration} s")


def _part_bytes(length: int | None) -> int:
    """Bytes of each part of a file of `length`, but for its last: some stores want them equal, also after a resume."""
    if length is None:
        return PART_BYTES  # held in memory
    return min(max(-(-length // _PARTS), PART_BYTES), LONGEST_PART)


def _content_type(output: Output) -> str:
    """By the link's ending: what a CDN says of a file is often `application/octet-stream`."""
    extension = urlsplit(output.url).path.rpartition(".")[2].lower()
    guess = _BY_EXTENSION.get(extension, "")
    return guess if guess.startswith(f"{output.kind}/") else _DEFAULT.get(output.kind, "application/octet-stream")


def _label(job: Job, output: Output, key: str, digest: str | None = None) -> dict[str, Any]:
    return {
        "content_type": _content_type(output),
        "filename": keys.download_name(job, key),
        "metadata": _metadata(job, output, digest),
    }


def _metadata(job: Job, output: Output, digest: str | None = None) -> dict[str, str]:
    """What an object says of itself. Metadata are sent before the first byte, a SHA-256 is known after the last: a
    file that is not held in memory goes without. The row and the manifest have it.
    """
    said = {
        "job": job.id,
        "task": job.provider_task_id,
        "model": job.model,
        "family": job.family.replace("/", "-"),
        "output": output.id,
        "sha256": digest,
    }
    return {f"reelhook-{name}": keys.safe(value) for name, value in said.items() if value}
