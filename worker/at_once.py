"""References to earlier jobs (`reelhook://JOB/...`) in requests that are passed through and answered at once.

They are replaced by the results. A job that has none yet is an error here: without a row nothing can wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.inputs import Inputs
from worker.jobs import references
from worker.jobs.model import Job, State
from worker.jobs.references import SCHEME, BadReference, Reference
from worker.kling import catalog
from worker.kling.media import Place
from worker.kling.strings import mapped, strings
from worker.pipelines import forgotten
from worker.store.chains import BAD_ENDS
from worker.store.repository import Repository


@dataclass(frozen=True)
class Resolved:
    """A request that names nothing of ours any more."""

    body: dict[str, Any]  #: with ids and `s3://` addresses in place of references
    makers: frozenset[str] = frozenset()  #: the account that made the ids in it, which no other one knows


@dataclass(frozen=True)
class _Result:
    """What a reference stands for."""

    value: str
    maker: str | None  #: of an id


def resolve(caller: str, body: Mapping[str, Any], *, store: Repository, inputs: Inputs, now: datetime) -> Resolved:
    """`body` with results in place of its references. Raises `BadReference` that lists every fault, or `StoreError`."""
    named = [(field, text) for field, text in strings(body) if text.startswith(SCHEME)]
    faults = [f"{references.FIELD}: is answered at once here, and waits for nothing"] * (references.FIELD in body)
    if len({text for _, text in named}) > references.MOST_EARLIER:
        faults.append(f"at most {references.MOST_EARLIER} results of jobs may be named, found {len(named)}")
        named = []
    results: dict[str, _Result] = {}
    for field, text in named:
        try:
            part = references.parse(text)
            results[text] = results.get(text) or _result(part, store.find(caller, part.name), store, inputs, now)
        except BadReference as fault:
            faults.append(f"{field}: {fault}")
    makers = frozenset(result.maker for result in results.values() if result.maker)
    if len(makers) > 1:
        faults.append(f"account: no one account knows the ids that it names, they are of {', '.join(sorted(makers))}")
    if faults:
        raise BadReference("; ".join(faults))
    return Resolved(mapped(body, lambda text: results[text].value if text in results else text), makers)


def _result(part: Reference, job: Job | None, store: Repository, inputs: Inputs, now: datetime) -> _Result:
    if job is None:
        raise BadReference(f"names no job of yours: {part.name!r}")
    if job.state in BAD_ENDS:
        raise BadReference(f"job {part.name!r} ended as {job.state}, nothing can stand on it")
    if job.state is not State.ARCHIVED:
        raise BadReference(
            f"job {part.name!r} is {job.state}, and nothing waits for it here: ask again once it is {State.ARCHIVED}"
        )
    made = catalog.FAMILIES[job.family].kind
    picked, reason = references.pick(part, store.files([job.id])[job.id], made), references.lacks(part, made)
    if reason or picked is None:
        raise BadReference(f"job {part.name!r} {reason or f'has no {part.path}'}")
    value, file = picked
    if part.is_id:
        if forgotten(job, now):
            raise BadReference(f"job {part.name!r} {forgotten(job, now)}")
        return _Result(value, job.account)
    if inputs.faults_of_file(Place("", value, ""), file, None):
        raise BadReference(f"{part.path} of job {part.name!r} is no longer in the bucket, where it was {value}")
    return _Result(f"s3://{file.bucket}/{value}", None)
