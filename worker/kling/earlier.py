"""What a request names of earlier jobs, and whether it may stand where it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.jobs import references
from worker.jobs.references import SCHEME, BadReference, Reference
from worker.kling.media import kind_at
from worker.kling.strings import strings


@dataclass(frozen=True)
class Named:
    """What a request names of earlier jobs."""

    family: str  #: of the request
    jobs: tuple[str, ...]  #: by our ids or the caller's
    parts: Mapping[str, Reference]  #: by the field that they stand in
    after: tuple[str, ...] = ()  #: those of `jobs` that it waits for by name

    def fields(self, job: str) -> str:
        """Where in the request one of `jobs` is named, for a person."""
        by_name = [references.FIELD] if job in self.after else []
        return " and ".join([*(field for field, part in self.parts.items() if part.name == job), *by_name])


def named(family: str, body: Mapping[str, Any]) -> Named | None:
    """What a request names of earlier jobs; None for most. Raises `BadReference` with every fault."""
    parts, faults = {}, []
    for field, text in strings(references.without(body)):
        if text.startswith(SCHEME):
            try:
                parts[field] = references.parse(text)
            except BadReference as fault:
                faults.append(f"{field}: {fault}")
            else:
                if kind_at(family, field) is None:
                    faults.append(f"{field}: takes nothing that a job made")
    after = references.names(body.get(references.FIELD))
    jobs = tuple(dict.fromkeys([*after, *(part.name for part in parts.values())]))
    if len(jobs) > references.MOST_EARLIER:
        faults.append(f"{references.FIELD}: at most {references.MOST_EARLIER} jobs may be named, found {len(jobs)}")
    if faults:
        raise BadReference("; ".join(faults))
    return Named(family, jobs, parts, after) if jobs else None
