"""The manifest of a job: one JSON document beside its files that says what they are and where they came from."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from worker.jobs.model import Job, ResultFile, State

#: Longer strings than any prompt are media that came as base64.
_LONGEST_TEXT = 4096


@dataclass(frozen=True)
class Missing:
    """One output that the provider names and that is not in the bucket."""

    kind: str
    variant: str
    ordinal: int
    provider_id: str | None
    reason: str


@dataclass(frozen=True)
class Lack:
    """How a job ended that has not all its files; one that is archived lacks only what nobody knows."""

    state: State
    reason: str | None
    missing: Sequence[Missing]


def manifest(
    job: Job,
    request: Mapping[str, Any],
    answer: Mapping[str, Any],
    files: Sequence[ResultFile],
    now: datetime,
    *,
    after: Mapping[str, str],
    lack: Lack | None = None,
) -> bytes:
    """The document, as indented UTF-8 JSON. Media in the request become their hash, links lose their query.

    `after`: ids of the jobs that it stands on, by what its request calls them. `lack`: where not all its
    files are here.
    """
    document = {
        "manifest_version": 1,
        "job": {
            "id": job.id,
            "external_task_id": job.external_task_id,
            "caller": job.caller,
            "family": job.family,
            "state": lack.state if lack else State.ARCHIVED,
            "failure": lack.reason if lack else None,
            "created_at": job.created_at.isoformat(),
            "submitted_at": job.submitted_at.isoformat() if job.submitted_at else None,
            "archived_at": now.isoformat() if lack is None or lack.state is State.ARCHIVED else None,
            "after": dict(after),
        },
        "request": _plain(request),
        "provider": {"task_id": job.provider_task_id, "units": job.units, "answer": _plain(answer)},
        "files": [{**asdict(file), "state": "archived"} for file in files],
        "missing": [{**asdict(one), "state": "not_archived"} for one in (lack.missing if lack else ())],
    }
    # Half an emoji, which JSON allows and UTF-8 does not, stays the escape that it came as.
    return json.dumps(document, ensure_ascii=False, indent=2).encode(errors="backslashreplace")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _text(value) if isinstance(value, str) else value


def _text(value: str) -> Any:
    if value[:8].lower().startswith(("http://", "https://")):
        return _without_query(value)
    if len(value) <= _LONGEST_TEXT:
        return value
    try:
        media = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        media = value.encode(errors="surrogatepass")
    return {"sha256": sha256(media).hexdigest(), "bytes": len(media)}


def _without_query(url: str) -> str:
    """A signed link's query is a secret while it lives and useless after."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "[unreadable URL]"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
