"""Write the manifest of a job, last of all its files; also of one that ended with some of them only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from math import inf
from time import monotonic

from infra.log import logger
from infra.store_errors import StoreError
from worker.copier import Copier
from worker.jobs import keys
from worker.jobs.manifest import Lack, Missing, manifest
from worker.jobs.model import ENDS, OTHER, Job, ResultFile, State
from worker.kling.places import in_places
from worker.kling.wire import Task, read_task
from worker.label import manifest_label
from worker.ports import Clock
from worker.provider import known
from worker.store.manifests import Place
from worker.store.repository import Repository

log = logger(__name__)

#: A manifest that could not be written when its job ended is tried again for so long.
_TRIED = timedelta(days=30)


@dataclass(frozen=True)
class Shortfall:
    """The end of a job that has not all its files."""

    state: State
    reason: str | None
    faults: Mapping[Place, str] = field(default_factory=dict)  #: what was wrong with single outputs


def record(
    job: Job,
    task: Task | None,
    files: Sequence[ResultFile],
    *,
    store: Repository,
    copier: Copier,
    now: datetime,
    short: Shortfall | None = None,
    alive: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Store the manifest; what the job's row says of it then. Raises `StoreError`.

    It overwrites a manifest that is there, and a slow write may arrive after another worker's. So every worker has to
    write the same bytes: `now` comes from a row, not from a clock. `alive` is called before the write, and raises where
    another worker has the job by now.
    """
    after = {one.name: one.job.id for one in store.chains.earlier(job.id)} if job.depth else {}
    body = manifest(
        job,
        known(store.request(job.id)),
        task.raw if task else {},
        sorted(files, key=lambda file: (file.kind == OTHER, file.ordinal, file.kind, file.variant)),
        now,
        after=after,
        lack=Lack(short.state, short.reason, _missing(task, files, short)) if short else None,
    )
    key, digest = keys.manifest_key(copier.key_template, job), sha256(body).hexdigest()
    alive()
    copier.bucket.put(key, body, **manifest_label(job, key, digest))
    return {"manifest_key": key, "manifest_sha256": digest}


def in_their_places(task: Task, files: Iterable[ResultFile]) -> Task:
    """`task` with its outputs in the places that `files` have: Kling need not list them in the same order each time."""
    places = {(file.kind, file.provider_id): file.ordinal for file in files if file.provider_id}
    return replace(task, outputs=in_places(task.outputs, places))


def of_what_there_is(job: Job, short: Shortfall, *, store: Repository, copier: Copier, now: datetime) -> dict[str, str]:
    """As `record`, for a job that ends without some of its files; if the bucket refuses, `catch_up` does it later."""
    try:
        return _of_files(job, short, store=store, copier=copier, now=now)
    except StoreError as fault:
        log.warning("archive.no_manifest", job=job.id, reason=str(fault))
        return {}


def _of_files(job: Job, short: Shortfall, *, store: Repository, copier: Copier, now: datetime) -> dict[str, str]:
    """As `record`; nothing for a job that has no good file. Raises `StoreError`."""
    files = store.files([job.id])[job.id]
    if not files:
        return {}
    kept = store.answer(job.id)
    task = in_their_places(read_task(200, {}, kept), files) if kept else None
    return record(job, task, files, store=store, copier=copier, now=now, short=short)


def afterwards(job: Job, *, store: Repository, copier: Copier, clock: Clock) -> None:
    """Write the manifest of a job that has ended already, and note it in its row. A refusing bucket is only logged."""
    try:
        _late(job, store=store, copier=copier, clock=clock)
    except StoreError as fault:
        log.warning("archive.no_manifest", job=job.id, reason=str(fault))


def _late(job: Job, *, store: Repository, copier: Copier, clock: Clock) -> None:
    short = Shortfall(job.state, job.error_message or "")
    if job.state in ENDS and (said := _of_files(job, short, store=store, copier=copier, now=clock())):
        store.manifests.written(job.id, said)


def catch_up(*, store: Repository, copier: Copier, clock: Clock, until: float = inf) -> None:
    """Write the manifests that are missing, of jobs that were set aside or whose bucket refused when they ended.

    Stops at `until`, in seconds of the monotonic clock; a bucket that refuses is not asked again. Both wait for the
    next call.
    """
    away: set[str] = set()
    for job in store.manifests.missing(clock() - _TRIED):
        if monotonic() > until:
            return
        if job.bucket in away:
            continue
        try:
            _late(job, store=store, copier=copier.into(job.bucket), clock=clock)
        except StoreError as fault:
            log.warning("archive.no_manifest", job=job.id, reason=str(fault))
            if fault.is_of_bucket:
                away.add(job.bucket)
        except Exception:
            log.exception("archive.no_manifest", job=job.id)


def _missing(task: Task | None, files: Sequence[ResultFile], short: Shortfall) -> list[Missing]:
    there = {(file.kind, file.variant, file.ordinal) for file in files}
    outputs = [(one, (one.kind, one.variant, one.ordinal)) for one in (task.outputs if task else ())]
    return [
        Missing(*place, provider_id=one.id, reason=short.faults.get(place, short.reason or ""))
        for one, place in outputs
        if place not in there
    ]
