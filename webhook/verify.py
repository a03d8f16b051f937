"""`reelhook verify`: read stored files back and prove them again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import chain

import click
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from infra.boxes import BoxWalk, NotMedia
from infra.media import probe
from infra.object_store import ObjectStore
from infra.stills import probe_image
from infra.store_errors import StoreError
from webhook import lifecycle, terminal
from worker.copier import UNBOXED
from worker.jobs.model import Job, ResultFile
from worker.store.repository import Repository


@dataclass(frozen=True)
class Verdict:
    """What came out for one file or manifest; `fault` is None when every byte is as its row says."""

    job_id: str
    key: str
    fault: str | None
    expired: bool = False  #: it is gone, and a lifecycle rule of its bucket says that it had to go


GONE = "is not there"
_PICTURES = ("poster", "contact sheet")
PICTURES_GONE = tuple(f"its {name} {GONE}" for name in _PICTURES)

#: Called with the number of bytes that were read since the last call.
Seen = Callable[[int], object]


def verify_files(
    files: Iterable[tuple[str, ResultFile]], store: ObjectStore, seen: Seen = lambda _: None
) -> Iterator[Verdict]:
    """Read each file of (job id, file) out of its bucket of `store`, a piece at a time. One that can't be read is a
    fault of it.
    """
    for job_id, file in files:
        bucket = store.of(file.bucket)
        try:
            yield Verdict(job_id, file.key, _fault(file, bucket, seen) or _picture_fault(file, bucket))
        except (StoreError, NotMedia) as fault:
            yield Verdict(job_id, file.key, str(fault))


def verify_manifest(job: Job, bucket: ObjectStore) -> Iterator[Verdict]:
    """Read the manifest of a job out of its bucket; nothing where no row says what it was."""
    if job.manifest_key is None:
        return
    try:
        there = bucket.head(job.manifest_key)
        body = b"".join(bucket.chunks(job.manifest_key)) if there else b""
        wrong = "holds other bytes than were written" if sha256(body).hexdigest() != job.manifest_sha256 else None
        yield Verdict(job.id, job.manifest_key, wrong if there else GONE)
    except StoreError as fault:
        yield Verdict(job.id, job.manifest_key, str(fault))


def _excused(verdict: Verdict, job: Job, bucket: ObjectStore, now: datetime) -> Verdict:
    """What is gone need not be there where a rule of the bucket ends objects as old as this one."""
    if verdict.fault not in {GONE, *PICTURES_GONE}:
        return verdict
    try:
        rules = bucket.lifecycle()
    except StoreError:
        return verdict
    days = lifecycle.days_until_expiry(rules, verdict.key)
    if days is None or now - job.updated_at < timedelta(days=days):
        return verdict
    return replace(verdict, expired=True)


def _fault(file: ResultFile, bucket: ObjectStore, seen: Seen) -> str | None:
    stored = bucket.head(file.key)
    if stored is None:
        return GONE
    if stored.size != file.size:
        return f"has {stored.size} bytes instead of {file.size}"
    digest, walk = sha256(), BoxWalk() if _has_boxes(file) else None
    for chunk in bucket.chunks(file.key):
        digest.update(chunk)
        seen(len(chunk))
        if walk:
            walk.feed(chunk)
    if digest.hexdigest() != file.sha256:
        return "holds other bytes than were proven"
    if walk:
        walk.finish()
    with bucket.open(file.key, file.size) as body:
        probe_image(body.read()) if file.kind == "image" else probe(body, sound_only=file.kind != "video", told=True)
    return None


def _has_boxes(file: ResultFile) -> bool:
    return file.kind == "video" and file.content_type != UNBOXED


def _picture_fault(file: ResultFile, bucket: ObjectStore) -> str | None:
    """What is wrong with the pictures beside it."""
    pictures = zip(_PICTURES, (file.poster_key, file.sheet_key), strict=True)
    faults = ((name, _fault_of_picture(key, bucket)) for name, key in pictures if key)
    return next((f"its {name} {fault}" for name, fault in faults if fault), None)


def _fault_of_picture(key: str, bucket: ObjectStore) -> str | None:
    """A picture says its own hash in its metadata; one that says none is at least a picture."""
    stored = bucket.head(key)
    if stored is None:
        return GONE
    body, said = b"".join(bucket.chunks(key)), stored.metadata.get("reelhook-sha256")
    if said and said != sha256(body).hexdigest():
        return "holds other bytes than were made"
    try:
        probe_image(body)
    except NotMedia as fault:
        return str(fault)
    return None


def _verdicts(ids: Iterable[str], store: Repository, buckets: ObjectStore, seen: Seen) -> Iterator[Verdict]:
    """Of all files and manifests of the jobs."""
    for job_id in ids:
        job, files = store.get(job_id), store.files([job_id])[job_id]
        if job is None:
            continue
        bucket = buckets.of(files[0].bucket if files else job.bucket)
        for verdict in chain(
            verify_files(((job_id, file) for file in files), buckets, seen), verify_manifest(job, bucket)
        ):
            yield _excused(verdict, job, bucket, datetime.now(UTC))


@click.command("verify")
@click.argument("job", required=False)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Jobs that were archived on that day (UTC) or later.")
def verify(job: str | None, since: datetime | None) -> None:
    """Read the files of JOB, or of all archived jobs, back from the bucket and prove them again.

    Each file or manifest that does not hold is a line that says why. Exits 0 when all hold, 1 when one does not. What
    the bucket's own rule has deleted is counted apart, and is no fault.
    """
    settings = terminal.settings()
    store = Repository(terminal.engine_of(settings))
    ids = [job] if job else store.archived(since.replace(tzinfo=UTC) if since else None)
    bucket, counted, expired = ObjectStore(settings), {True: 0, False: 0}, 0
    columns = TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        reading = progress.add_task("reading back", total=None)
        for verdict in _verdicts(ids, store, bucket, lambda size: progress.advance(reading, size)):
            if verdict.expired:
                expired += 1
            else:
                counted[verdict.fault is None] += 1
            if job or (verdict.fault and not verdict.expired):
                said = "expired by rule" if verdict.expired else verdict.fault or "holds"
                click.echo(f"{verdict.job_id} {verdict.key}: {said}")
    gone = f", {expired} expired by rule" if expired else ""
    click.echo(f"{counted[True]} hold, {counted[False]} do not{gone}")
    if job and not (expired or any(counted.values())):
        raise click.ClickException(f"job {job} has no files, or there is no such job")
    sys.exit(1 if counted[False] else 0)
