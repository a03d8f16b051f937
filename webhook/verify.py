"""`reelhook verify`: read stored files back and prove them again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import click
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from infra.boxes import BoxWalk, NotMedia
from infra.db import make_engine
from infra.media import probe, probe_image
from infra.object_store import ObjectStore, StoreError
from infra.settings import BadSettings, load
from worker.jobs.model import ResultFile
from worker.store.repository import Repository


@dataclass(frozen=True)
class Verdict:
    """What came out for one file; `fault` is None when every byte is as its row says."""

    job_id: str
    file: ResultFile
    fault: str | None


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
            yield Verdict(job_id, file, _fault(file, bucket, seen) or _picture_fault(file, bucket))
        except (StoreError, NotMedia) as fault:
            yield Verdict(job_id, file, str(fault))


def _fault(file: ResultFile, bucket: ObjectStore, seen: Seen) -> str | None:
    stored = bucket.head(file.key)
    if stored is None:
        return "is not there"
    if stored.size != file.size:
        return f"has {stored.size} bytes instead of {file.size}"
    digest, walk = sha256(), BoxWalk() if file.kind == "video" else None
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
        probe_image(body.read()) if file.kind == "image" else probe(body)
    return None


def _picture_fault(file: ResultFile, bucket: ObjectStore) -> str | None:
    """What is wrong with the pictures beside it: each says its own hash in its metadata."""
    for name, key in (("poster", file.poster_key), ("contact sheet", file.sheet_key)):
        stored = bucket.head(key) if key else None
        if key and stored is None:
            return f"its {name} is not there"
        said = stored.metadata.get("reelhook-sha256") if stored else None
        if key and said and said != sha256(b"".join(bucket.chunks(key))).hexdigest():
            return f"its {name} holds other bytes than were made"
    return None


@click.command("verify")
@click.argument("job", required=False)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Jobs that were archived on that day (UTC) or later.")
def verify(job: str | None, since: datetime | None) -> None:
    """Read the files of JOB, or of all archived jobs, back from the bucket and prove them again.

    Each file that does not hold is a line that says why. Exits 0 when all hold, 1 when one does not.
    """
    try:
        settings = load()
    except BadSettings as fault:
        raise click.ClickException(str(fault)) from None
    engine = make_engine(settings, application="reelhook-cli")
    click.get_current_context().call_on_close(engine.dispose)
    store = Repository(engine)
    ids = [job] if job else store.archived(since.replace(tzinfo=UTC) if since else None)
    files = ((job_id, file) for job_id in ids for file in store.files([job_id])[job_id])
    counted = {True: 0, False: 0}
    columns = TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        reading = progress.add_task("reading back", total=None)
        for verdict in verify_files(files, ObjectStore(settings), lambda size: progress.advance(reading, size)):
            counted[verdict.fault is None] += 1
            if verdict.fault or job:
                click.echo(f"{verdict.job_id} {verdict.file.key}: {verdict.fault or 'holds'}")
    click.echo(f"{counted[True]} hold, {counted[False]} do not")
    if job and not any(counted.values()):
        raise click.ClickException(f"job {job} has no files, or there is no such job")
    sys.exit(1 if counted[False] else 0)
