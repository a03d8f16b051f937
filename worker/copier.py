"""Carry one output of a task into the bucket, and prove it there.

On the way: length, SHA-256 and CRC-32 of every byte, the boxes of an MP4 walked. Then the bucket says what it holds,
and it must be that. Then facts, the first and the last frame decoded, a poster and a contact sheet: of the bytes that
passed where they are still in memory, out of the bucket where they are not. Memory holds a few pieces of a file.

How far it is stands in a row before the first byte leaves and after each part. A file that was taken up by another
worker has no running SHA-256, which can't be put in a row: it is then read back from the bucket once, and the CRC-32,
which can, says that what lies there is what was sent.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property, partial
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from infra.boxes import NotMedia
from infra.http import HttpError
from infra.media import Film, MediaFacts, probe, probe_film, probe_image
from worker.jobs import keys
from worker.jobs.model import Job, ResultFile
from worker.jobs.transfer import Transfer
from worker.kling.wire import Output
from worker.ports import Bucket, Http
from worker.previews import NAMES, Previews
from worker.sender import Ledger, Sender, Sent
from worker.source import Progress, Source, SourceChanged, Unproven, resume_headers

_BY_EXTENSION = {extension: kind for kind, extension in keys.EXTENSIONS.items()} | {"jpeg": "image/jpeg"}
_DEFAULT = {"video": "video/mp4", "image": "image/png", "audio": "audio/mpeg"}
_LARGEST_IMAGE = 64 * 2**20
#: One fetch that takes longer than this is given up; what came of it stays.
_FETCH_LIMIT = timedelta(hours=1)
#: A film may be so much longer or shorter than the provider says, in seconds and as a part of it.
_DURATION_SLACK = (1.0, 0.2)
#: Films that a process decodes at a time: at 1080p each takes some 35 MiB, however many are copied.
_DECODERS = threading.BoundedSemaphore(2)
_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Arrived:
    """A file that lies in the bucket, its bytes being those that came."""

    key: str
    size: int
    sha256: str
    kept: Callable[[int, int], bytes]  #: reads what is still in memory of it


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
    _others: dict[str, Copier] = field(default_factory=dict, init=False, repr=False)

    def into(self, bucket: str) -> Copier:
        """The one for another bucket of the store; itself where no name is said."""
        if not bucket or bucket == self.bucket.bucket:
            return self
        return self._others.setdefault(bucket, replace(self, bucket=self.bucket.of(bucket)))

    @cached_property
    def sender(self) -> Sender:
        """The way into the bucket."""
        return Sender(self.bucket)

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
            arrived = self._arrive(job, output, begun, ledger, progress, until)
            facts, beside = self._prove(job, output, arrived, progress)
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
            size=arrived.size,
            sha256=arrived.sha256,
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
        self.bucket.end_uploads(transfer.key)

    # --- into the bucket ----------------------------------------------------------------------------------------
    def _arrive(
        self, job: Job, output: Output, begun: Transfer | None, ledger: Ledger, progress: Progress, until: float
    ) -> Arrived:
        """The file, once the bucket has all of it."""
        if begun and (found := self._adopt(job, begun, progress)):
            return found
        whole = begun and begun.whole
        sent = Sent(begun) if begun and whole else self._send(job, output, begun, ledger, progress, until)
        if sent.at.upload_id:
            sent = self.sender.complete(sent, ledger, alone=begun is None)
        return self._there(job, sent, progress)

    def _adopt(self, job: Job, begun: Transfer, progress: Progress) -> Arrived | None:
        """The file that a killed worker had stored and could no longer tell of."""
        if begun.upload_id and not begun.whole:
            return None
        stored = self.bucket.head(begun.key)
        if stored is None or stored.metadata.get("reelhook-job") != job.id or stored.size != begun.length:
            return None
        return self._there(job, Sent(begun), progress)

    def _send(
        self, job: Job, output: Output, begun: Transfer | None, ledger: Ledger, progress: Progress, until: float
    ) -> Sent:
        at = begun or self.transfer(job, output)
        with self.http.stream(
            output.url, resume_headers(at), seconds=_FETCH_LIMIT.total_seconds(), slowest=self.slowest
        ) as stream:
            source = Source(
                stream,
                at,
                largest=self.largest,
                walked=output.kind == "video",
                digest=self.sender.kept_digest(at),
                progress=progress,
            )
            if not source.resumed:
                if begun:  # the source has changed, or can't go on from a byte
                    self.bucket.end_uploads(at.key)
                at = replace(at.afresh(), length=source.length, validator=source.validator)
                ledger.save(at)
            return self.sender.send(source, at, ledger, label=partial(_label, job, output, at.key), until=until)

    # --- out of the bucket --------------------------------------------------------------------------------------
    def _there(self, job: Job, sent: Sent, progress: Progress) -> Arrived:
        """What lies in the bucket, which must be what was sent."""
        at, stored = sent.at, self.bucket.head(sent.at.key)
        if stored is None or stored.size != at.length or stored.metadata.get("reelhook-job") != job.id:
            raise Unproven(f"{at.kind} {at.ordinal}: the bucket does not hold what was sent")
        if sent.etag and stored.etag != sent.etag:
            raise Unproven(f"{at.kind} {at.ordinal}: the bucket holds another version than it took")
        return Arrived(at.key, stored.size, at.sha256 or self._read_back(at, progress), sent.kept)

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
        self, job: Job, output: Output, arrived: Arrived, progress: Progress
    ) -> tuple[MediaFacts, dict[str, str]]:
        """The facts of the file, and the keys of what now lies beside it, by name."""
        beside: dict[str, str] = {}
        key, size = arrived.key, arrived.size
        alive: Callable[[], None] = lambda: progress(size, size)  # noqa: E731 - a name for its type
        with _a_decoder(alive), self.bucket.open(key, size, arrived.kept) as file:
            seen = self._seen(output, file, size, alive)
        _agree(output, seen.facts)
        if output.kind == "video":
            for name, picture in self.previews.of(seen):
                beside[name] = self._put_beside(job, output, keys.beside(key, name), picture)
        return seen.facts, beside

    def _seen(self, output: Output, file: Any, size: int, alive: Callable[[], None]) -> Film:
        """What the file is, and what is to be seen of a film."""
        if output.kind == "video":
            return probe_film(file, moments=self.previews.moments, show=self.previews.shown, alive=alive)
        if output.kind != "image":
            return Film(probe(file))
        if size > _LARGEST_IMAGE:
            raise NotMedia("is too large for a picture")
        return Film(probe_image(file.read()))

    def _put_beside(self, job: Job, output: Output, key: str, picture: bytes) -> str:
        metadata = _metadata(job, output, sha256(picture).hexdigest())
        filename = keys.download_name(job, key)
        self.bucket.put(key, picture, content_type="image/jpeg", filename=filename, metadata=metadata)
        return key


@contextmanager
def _a_decoder(progress: Callable[[], None]) -> Iterator[None]:
    """One of a process's few decoders; whoever waits for one keeps its lease."""
    while not _DECODERS.acquire(timeout=_WAIT_SECONDS):
        progress()
    try:
        yield
    finally:
        _DECODERS.release()


def _agree(output: Output, facts: MediaFacts) -> None:
    said = float(output.duration) if output.duration else None
    if said and facts.duration and abs(said - facts.duration) > max(_DURATION_SLACK[0], said * _DURATION_SLACK[1]):
        raise NotMedia(f"lasts {facts.duration} s, and the provider says {output.duration} s")


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
