"""Carry one output of a task into the bucket, and prove it there.

On the way: length and SHA-256 of every byte, the boxes of an MP4 walked. Then, out of the bucket: facts, the first
and the last frame decoded, a poster. Memory holds one part, whatever the file's size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from infra.http import HttpError
from infra.media import BoxWalk, MediaFacts, NotMedia, poster, probe, probe_image
from worker.jobs import keys
from worker.jobs.model import Job, ResultFile
from worker.kling.wire import Output
from worker.ports import Bucket, Http, Stream

_BY_EXTENSION = {extension: kind for kind, extension in keys.EXTENSIONS.items()} | {"jpeg": "image/jpeg"}
_DEFAULT = {"video": "video/mp4", "image": "image/png", "audio": "audio/mpeg"}
_LARGEST_IMAGE = 64 * 2**20
#: A copy that takes longer than this is given up and begun again.
_COPY_LIMIT = timedelta(hours=1)


class Unproven(Exception):
    """A result could not be fetched, or its bytes are not what they claim to be. Worth a fresh link."""


class LeaseLost(Exception):
    """Somebody else copies this job now."""


#: Called with the bytes copied of this file, and its length where it is known. Raises `LeaseLost`.
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Copier:
    """What copying needs."""

    http: Http
    bucket: Bucket
    key_template: str
    largest: int  #: bytes

    def copy(self, job: Job, output: Output, progress: Progress) -> ResultFile:
        """Store `output` and its poster; the proven file. Raises `Unproven`, `StoreError`, `LeaseLost`."""
        content_type = _content_type(output)
        key = keys.file_key(
            self.key_template,
            job,
            kind=output.kind,
            variant=output.variant,
            ordinal=output.ordinal,
            content_type=content_type,
        )
        size, sha256 = self._transfer(job, output, key, content_type, progress)
        try:
            facts = self._prove(output, key, size)
            poster_key = self._poster(job, output, key, size)
        except NotMedia as fault:
            self.bucket.delete(key)
            raise Unproven(f"{output.kind} {output.ordinal} {fault}") from fault
        return ResultFile(
            kind=output.kind,
            variant=output.variant,
            ordinal=output.ordinal,
            provider_id=output.id,
            key=key,
            bucket=self.bucket.bucket,
            size=size,
            sha256=sha256,
            content_type=content_type,
            container=facts.container,
            duration=facts.duration,
            width=facts.width,
            height=facts.height,
            fps=facts.fps,
            video_codec=facts.video_codec,
            audio_codec=facts.audio_codec,
            poster_key=poster_key,
        )

    def _transfer(self, job: Job, output: Output, key: str, content_type: str, progress: Progress) -> tuple[int, str]:
        digest = hashlib.sha256()
        boxes = BoxWalk() if output.kind == "video" else None
        size = 0
        try:
            with (
                self.http.stream(output.url, {}, seconds=_COPY_LIMIT.total_seconds()) as source,
                self.bucket.upload(key, content_type=content_type, metadata=_metadata(job, output)) as upload,
            ):
                length = self._length(source)
                for chunk in self._checked(source.chunks, length):
                    digest.update(chunk)
                    if boxes:
                        boxes.feed(chunk)
                    upload.write(chunk)
                    size += len(chunk)
                    progress(size, length)
                if length is not None and size != length:
                    raise Unproven(f"{output.kind} {output.ordinal}: {size} bytes came of {length}")
                if boxes:
                    boxes.finish()
                upload.finish()
        except (HttpError, NotMedia) as fault:
            raise Unproven(f"{output.kind} {output.ordinal}: {fault}") from fault
        if (stored := self.bucket.head(key)) is None or stored.size != size:
            raise Unproven(f"{output.kind} {output.ordinal}: the bucket does not hold what was sent")
        return size, digest.hexdigest()

    def _length(self, source: Stream) -> int | None:
        if source.status != 200:
            raise Unproven(f"the result link answers HTTP {source.status}")
        if source.headers.get("Content-Type", "").startswith("text/"):
            raise Unproven("the result link answers with a page instead of a file")
        text = source.headers.get("Content-Length", "")
        length = int(text) if text.isascii() and text.isdigit() else None
        if length is not None and length > self.largest:
            raise Unproven(f"the file is {length} bytes long, more than MAX_RESULT_BYTES allows")
        return length

    def _checked(self, chunks: Iterator[bytes], length: int | None) -> Iterator[bytes]:
        limit = self.largest if length is None else length
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise Unproven("the file is longer than it said, or than MAX_RESULT_BYTES allows")
            yield chunk

    def _prove(self, output: Output, key: str, size: int) -> MediaFacts:
        with self.bucket.open(key, size) as file:
            if output.kind != "image":
                return probe(file)
            if size > _LARGEST_IMAGE:
                raise NotMedia("is too large for a picture")
            return probe_image(file.read())

    def _poster(self, job: Job, output: Output, key: str, size: int) -> str | None:
        if output.kind != "video":
            return None
        with self.bucket.open(key, size) as file:
            picture = poster(file)
        poster_key = keys.poster_key(key)
        self.bucket.put(poster_key, picture, content_type="image/jpeg", metadata=_metadata(job, output))
        return poster_key


def _content_type(output: Output) -> str:
    """By the link's ending: what a CDN says of a file is often `application/octet-stream`."""
    extension = urlsplit(output.url).path.rpartition(".")[2].lower()
    guess = _BY_EXTENSION.get(extension, "")
    return guess if guess.startswith(f"{output.kind}/") else _DEFAULT.get(output.kind, "application/octet-stream")


def _metadata(job: Job, output: Output) -> dict[str, str]:
    return {"reelhook-job": job.id, "reelhook-task": job.provider_task_id or "", "reelhook-output": output.id or ""}
