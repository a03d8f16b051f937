"""`reelhook verify`: read stored files back and prove them again."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import click
from rich.console import Console
from rich.table import Table

from infra.db import make_engine
from infra.media import BoxWalk, NotMedia, probe, probe_image
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


def verify_files(files: Iterable[tuple[str, ResultFile]], bucket: ObjectStore) -> Iterator[Verdict]:
    """Read each file of (job id, file) out of `bucket`. One that can't be read is a fault of that file."""
    for job_id, file in files:
        try:
            yield Verdict(job_id, file, _fault(file, bucket))
        except (StoreError, NotMedia) as fault:
            yield Verdict(job_id, file, str(fault))


def _fault(file: ResultFile, bucket: ObjectStore) -> str | None:
    if file.bucket != bucket.bucket:
        return f"lies in bucket {file.bucket}, which the settings don't name"
    stored = bucket.head(file.key)
    if stored is None:
        return "is not there"
    if stored.size != file.size:
        return f"has {stored.size} bytes instead of {file.size}"
    digest, walk = sha256(), BoxWalk() if file.kind == "video" else None
    for chunk in bucket.chunks(file.key):
        digest.update(chunk)
        if walk:
            walk.feed(chunk)
    if digest.hexdigest() != file.sha256:
        return "holds other bytes than were proven"
    if walk:
        walk.finish()
    with bucket.open(file.key, file.size) as body:
        probe_image(body.read()) if file.kind == "image" else probe(body)
    return None


@click.command("verify")
@click.argument("job", required=False)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Jobs that were archived on that day (UTC) or later.")
def verify(job: str | None, since: datetime | None) -> None:
    """Read the files of JOB, or of all archived jobs, back from the bucket and prove them again.

    Exits 0 when all hold, 1 when one does not.
    """
    try:
        settings = load()
    except BadSettings as fault:
        raise click.ClickException(str(fault)) from None
    store = Repository(make_engine(settings, application="reelhook-cli"))
    ids = [job] if job else store.archived(since.replace(tzinfo=UTC) if since else None)
    files = ((job_id, file) for job_id in ids for file in store.files([job_id])[job_id])
    table, bad, good = Table("job", "file", "bytes", "verdict"), 0, 0
    for verdict in verify_files(files, ObjectStore(settings)):
        bad, good = bad + bool(verdict.fault), good + (not verdict.fault)
        table.add_row(verdict.job_id, verdict.file.key, f"{verdict.file.size:,}", verdict.fault or "holds")
    Console().print(table)
    click.echo(f"{good} hold, {bad} do not")
    sys.exit(1 if bad or (job and not good) else 0)
