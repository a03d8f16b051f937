"""What lies in a bucket, proven again: whether it is still what its row says, and whether the bucket could be asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from hashlib import sha256
from time import monotonic, sleep

from infra.boxes import BoxWalk, NotMedia
from infra.media import probe
from infra.object_store import ObjectStore, Stored
from infra.stills import probe_image
from infra.store_errors import StoreError
from webhook import lifecycle
from webhook.store_words import words_for
from worker.copier import UNBOXED
from worker.jobs.model import OTHER, Job, ResultFile

GONE = "is not there"
_PICTURES = ("poster", "contact sheet")
_GONE = (GONE, *(f"its {name} {GONE}" for name in _PICTURES))
#: How a store says that there is no such object.
_NOT_THERE = frozenset({"404", "NoSuchKey", "NotFound"})
#: Bytes of the largest poster or sheet that could be one: at 960 pixels a side they have some 100,000.
_LARGEST_PICTURE = 16 * 2**20
#: Seconds for which a bucket that does not answer is asked again, and between two questions.
_PATIENCE, _PAUSE = 60.0, 2.0
#: Objects one after another that it would say nothing of, after which it is asked for no other one.
_IN_VAIN = 3

#: Called with the number of bytes that were read since the last call.
Seen = Callable[[int], object]


class Outcome(StrEnum):
    """What came out for one object."""

    HOLDS = "holds"  #: every byte is as its row says
    FAULT = "does not hold"
    EXPIRED = "expired by rule"  #: it is gone, and a lifecycle rule of its bucket says that it had to go
    UNASKED = "could not be asked"  #: its bucket did not answer, or lets nobody look: that says nothing of the object


@dataclass(frozen=True)
class Verdict:
    """What came out for one file or manifest; `why` is None when it holds."""

    job_id: str
    key: str
    size: int | None  #: bytes, by its row; None of a manifest, whose row says none
    sha256: str | None  #: by its row
    outcome: Outcome = Outcome.HOLDS
    why: str | None = None

    def __str__(self) -> str:
        told = {Outcome.HOLDS: "holds", Outcome.EXPIRED: "expired by rule", Outcome.UNASKED: f"not known: {self.why}"}
        return f"{self.job_id} {self.key}: {told.get(self.outcome, self.why)}"


#: What is asked of one object.
Question = Callable[[], Verdict]


@dataclass
class Judge:
    """Reads objects back, a piece at a time. `seen` hears of each piece. Safe to share between threads."""

    buckets: ObjectStore
    seen: Seen = lambda _: None
    _in_vain: dict[str, int] = field(default_factory=dict)
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _rules: dict[str, Sequence[lifecycle.Rule] | StoreError] = field(default_factory=dict)

    def questions(self, job: Job, files: Sequence[ResultFile], stored_at: Mapping[str, datetime]) -> Iterator[Question]:
        """For each file of a job, and then for its manifest. `stored_at`: when each file was proven, by key."""
        for file in files:
            yield partial(self.of_file, job.id, file, stored_at.get(file.key, job.updated_at))
        last = max(files, key=lambda file: stored_at.get(file.key, job.updated_at), default=None)
        if job.manifest_key is not None:  # else no row says what it was
            yield partial(self.of_manifest, job, last.bucket if last else job.bucket)

    def of_file(self, job_id: str, file: ResultFile, stored_at: datetime) -> Verdict:
        """Of a file and the pictures beside it."""
        bucket = self.buckets.of(file.bucket)
        ask = lambda: self._fault(file, bucket) or _picture_fault(file, bucket)  # noqa: E731 - said once, asked often
        return self._judged(Verdict(job_id, file.key, file.size, file.sha256), bucket, stored_at, ask)

    def of_manifest(self, job: Job, bucket: str = "") -> Verdict:
        """Of the manifest of a job that has one."""
        key, there = job.manifest_key, self.buckets.of(bucket)
        assert key is not None
        ask = lambda: _manifest_fault(key, job.manifest_sha256, there)  # noqa: E731 - as above
        return self._judged(Verdict(job.id, key, None, job.manifest_sha256), there, job.updated_at, ask)

    def _judged(
        self, held: Verdict, bucket: ObjectStore, stored_at: datetime, ask: Callable[[], str | None]
    ) -> Verdict:
        """`held`: what to say where `ask` finds no fault."""
        try:
            fault = self._heard(bucket, ask)
        except StoreError as refusal:
            return replace(held, outcome=Outcome.UNASKED, why=_words(refusal))
        if fault is None:
            return held
        faulty = replace(held, outcome=Outcome.FAULT, why=fault)
        return self._of_what_is_gone(faulty, bucket, stored_at) if fault in _GONE else faulty

    def _heard(self, bucket: ObjectStore, ask: Callable[[], str | None]) -> str | None:
        """What `ask` says once the bucket answers: hours of reading are not given up for a minute without it."""
        name = bucket.bucket
        vain = self._in_vain.get(name, 0)
        if vain >= _IN_VAIN:
            raise StoreError("its bucket did not answer before")
        until = monotonic() + (0 if vain else _PATIENCE)
        while True:
            try:
                said = ask()
            except NotMedia as found:
                said = str(found)
            except StoreError as fault:
                if not fault.passes:
                    raise
                if monotonic() >= until:
                    with self._counting:
                        self._in_vain[name] = self._in_vain.get(name, 0) + 1
                    raise
                sleep(_PAUSE)
                continue
            with self._counting:
                self._in_vain[name] = 0
            return said

    def _fault(self, file: ResultFile, bucket: ObjectStore) -> str | None:
        stored = _stored(file.key, bucket)
        if stored is None:
            return GONE
        if stored.size != file.size:
            return f"has {stored.size} bytes instead of {file.size}"
        digest, walk = sha256(), BoxWalk() if _has_boxes(file) else None
        for chunk in bucket.chunks(file.key):
            digest.update(chunk)
            self.seen(len(chunk))
            if walk:
                walk.feed(chunk)
        if digest.hexdigest() != file.sha256:
            return "holds other bytes than were proven"
        if walk:
            walk.finish()
        if file.kind == OTHER or file.damaged_frames:  # it was taken with those, and these are its bytes
            return None
        with bucket.open(file.key, file.size) as body:
            probe_image(body.read()) if file.kind == "image" else probe(
                body, sound_only=file.kind != "video", told=True
            )
        return None

    def _of_what_is_gone(self, verdict: Verdict, bucket: ObjectStore, stored_at: datetime) -> Verdict:
        """It need not be there where a rule of the bucket ends objects as old as this one."""
        rules = self._rules.get(bucket.bucket)
        if rules is None:
            rules = self._rules[bucket.bucket] = _rules_of(bucket)
        if isinstance(rules, StoreError):
            return replace(verdict, why=f"{verdict.why}; whether by a rule of its bucket can't be told ({rules})")
        days = lifecycle.days_until_expiry(rules, verdict.key)
        if days is None or datetime.now(UTC) - stored_at < timedelta(days=days):
            return verdict
        return replace(verdict, outcome=Outcome.EXPIRED)


def _rules_of(bucket: ObjectStore) -> Sequence[lifecycle.Rule] | StoreError:
    """What the bucket says of its rules. One that has no such thing has none."""
    try:
        return bucket.lifecycle()
    except StoreError as fault:
        return [] if fault.code in lifecycle.NO_RULES else fault


def _words(fault: StoreError) -> str:
    needs = f"s3:GetObject; or it {GONE}, which a store says only to who has s3:ListBucket"
    return words_for(fault, needs, datetime.now(UTC)) if fault.code else str(fault)


def _stored(key: str, bucket: ObjectStore) -> Stored | None:
    """What is there. A HEAD has no body to say what is missing, the object or the whole bucket, nor what is refused."""
    stored = bucket.seen(key)
    if stored is None:
        try:
            bucket.read(key, 0, 1)
        except StoreError as fault:
            if fault.code not in _NOT_THERE:
                raise
        else:
            return bucket.head(key)
    return stored


def _manifest_fault(key: str, sha256_said: str | None, bucket: ObjectStore) -> str | None:
    if _stored(key, bucket) is None:
        return GONE
    return None if _digest(key, bucket) == sha256_said else "holds other bytes than were written"


def _digest(key: str, bucket: ObjectStore) -> str:
    digest = sha256()
    for chunk in bucket.chunks(key):
        digest.update(chunk)
    return digest.hexdigest()


def _has_boxes(file: ResultFile) -> bool:
    return file.kind == "video" and file.content_type != UNBOXED


def _picture_fault(file: ResultFile, bucket: ObjectStore) -> str | None:
    """What is wrong with the pictures beside it."""
    pictures: Iterable[tuple[str, str | None]] = zip(_PICTURES, (file.poster_key, file.sheet_key), strict=True)
    faults = ((name, _fault_of_picture(key, bucket)) for name, key in pictures if key)
    return next((f"its {name} {fault}" for name, fault in faults if fault), None)


def _fault_of_picture(key: str, bucket: ObjectStore) -> str | None:
    """A picture says its own hash in its metadata; one that says none is at least a picture."""
    stored = _stored(key, bucket)
    if stored is None:
        return GONE
    if stored.size > _LARGEST_PICTURE:
        return f"has {stored.size} bytes, more than any picture of ours"
    body, said = b"".join(bucket.chunks(key)), stored.metadata.get("reelhook-sha256")
    if said and said != sha256(body).hexdigest():
        return "holds other bytes than were made"
    try:
        probe_image(body)
    except NotMedia as fault:
        return str(fault)
    return None
