"""Is a file what it claims to be? Its facts, its first and last frame decoded, and its pictures laid beside it.

The bytes are those that passed where they are still in memory, so that this goes on while they leave; else they come
out of the bucket.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from infra.boxes import NotMedia
from infra.log import logger
from infra.media import Film, MediaFacts, agree, probe, probe_film
from infra.stills import probe_image
from infra.store_errors import StoreError
from worker.jobs import keys
from worker.jobs.model import OTHER, Job
from worker.kling.wire import Output
from worker.label import picture_label
from worker.ports import Bucket
from worker.previews import Previews
from worker.sent import Kept

log = logger(__name__)

_DURATION = re.compile(r"\s*(\d{1,6}(?:\.\d{0,9})?)\s*s?\s*", re.ASCII | re.IGNORECASE)
_LARGEST_IMAGE = 64 * 2**20
#: Films that a process decodes at a time: at 1080p each takes some 35 MiB, however many are copied.
_DECODERS = threading.BoundedSemaphore(2)
_WAIT_SECONDS = 5.0
#: What is known of a file that nobody has looked into.
_UNOPENED = MediaFacts("")


@dataclass(frozen=True)
class Proof:
    """What came of it."""

    facts: MediaFacts
    damaged_frames: int | None = None  #: as a film's row says
    beside: Mapping[str, str] = field(default_factory=dict)  #: keys of pictures by name


@dataclass(frozen=True)
class Prover:
    """What proving needs."""

    bucket: Bucket
    previews: Previews

    def prove(self, job: Job, output: Output, key: str, size: int, kept: Kept, *, alive: Callable[[], object]) -> Proof:
        """The proof of `size` bytes that lie, or will lie, under `key`. `alive` is called now and then.

        What nobody knows is not opened: nothing is held against it. Raises `NotMedia`, `StoreError`, and what `alive`
        raises.
        """
        if output.kind == OTHER:
            return Proof(_UNOPENED)
        with _a_decoder(alive), self.bucket.open(key, size, kept) as file:
            seen = self._seen(output, file, size, alive)
        _agree(output, seen.facts)
        pictures = self.previews.of(seen) if output.kind == "video" else ()
        beside = {name: at for name, made in pictures if (at := self._beside(job, output, key, name, made))}
        return Proof(seen.facts, seen.damaged_frames, beside)

    def _seen(self, output: Output, file: Any, size: int, alive: Callable[[], object]) -> Film:
        """What the file is, and what is to be seen of a film."""
        if output.kind == "video":
            return probe_film(file, moments=self.previews.moments, show=self.previews.shown, alive=alive)
        if output.kind != "image":
            return Film(probe(file, alive, sound_only=True, told=_seconds(output.duration) is not None))
        if size > _LARGEST_IMAGE:
            raise NotMedia("is too large for a picture")
        return Film(probe_image(file.read(), alive))

    def _beside(self, job: Job, output: Output, key: str, name: str, picture: bytes) -> str | None:
        """Where a picture lies. One that the store will never take (its key is longer than the film's) is left out:
        for its sake no film is kept from being archived.
        """
        at = keys.beside(key, name)
        try:
            self.bucket.put(at, picture, **picture_label(job, output, at, sha256(picture).hexdigest()))
        except StoreError as fault:
            if fault.is_of_bucket or not fault.lasts:
                raise
            log.warning("preview.left_out", preview=name, reason=str(fault))
            return None
        return at


@contextmanager
def _a_decoder(alive: Callable[[], object]) -> Iterator[None]:
    """One of a process's few decoders; whoever waits for one keeps its lease."""
    while not _DECODERS.acquire(timeout=_WAIT_SECONDS):
        alive()
    try:
        yield
    finally:
        _DECODERS.release()


def _agree(output: Output, facts: MediaFacts) -> None:
    said = _seconds(output.duration)
    if said and facts.duration and not agree(facts.duration, said):
        raise NotMedia(f"lasts {facts.duration} s, and the provider says {output.duration} s")


def _seconds(text: str | None) -> float | None:
    """What the provider says, such as `5`, `5.1` or `5s`; None of anything else."""
    match = _DURATION.fullmatch(text or "")
    return float(match[1]) if match else None
