"""An event of a job and what it means for receivers, written in one statement: the timeline and the outbox agree.

With nobody to tell it costs one look at an index beside the row of the timeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, DateTime, Text, bindparam
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from infra.statement import Statement, of_parts
from worker.jobs import events
from worker.jobs.model import Job

#: Before the id of a subscription, where a delivery names its receiver.
SUBSCRIPTION = "subscription://"

# The number is taken under the lock of the job's row; who had it just before us is why a move may have to begin anew.
_EVENT = """
    insert into events (job_id, sequence, type, at, data)
    select {job}.id, (select coalesce(max(sequence), 0) + 1 from events where job_id = {job}.id),
        cast(:type as text), :at, {data}
    from {job}
    returning id, job_id, sequence
"""
# A subscription that is disabled keeps its events. The lock lets none be written past one who enables it just now.
_SUBSCRIBED = """
    select 'subscription://' || id as url, receiver, disabled_at is not null as held
    from subscriptions
    where caller = :caller and types && :patterns
    for share
"""
_RECEIVER = """
    select * from subscribed
    union all
    select url, name, false from unnest(cast(:urls as text[]), cast(:names as text[])) as own (url, name)
"""
_DELIVERED = """
    insert into deliveries (id, event_id, job_id, sequence, url, receiver, state, begun_at, due_at)
    select 'msg_' || replace(gen_random_uuid()::text, '-', ''), event.id, event.job_id, event.sequence, receiver.url,
        receiver.receiver, case when held then 'held' else 'pending' end, :at, case when held then null else :at end
    from event cross join receiver
    returning id, state
"""


def written(job: str, *, told: bool, more: str | None = None) -> dict[str, str]:
    """Parts of a statement that write an event of the job in the part `job`, and, where it is `told`, for whom.

    `more`: JSON that is part of what is written. Values: `type`, `at`, `data`, and those of `addressed`.
    """
    parts = {"event": _EVENT.format(job=job, data=f":data || {more}" if more else ":data")}
    if told:
        parts |= {"subscribed": _SUBSCRIBED, "receiver": _RECEIVER, "delivered": _DELIVERED}
    return parts


@dataclass(frozen=True)
class Note:
    """Something that happened to a job, by its name in the timeline."""

    type: str
    data: Mapping[str, Any]


def receiver(caller: str, url: str) -> str:
    """Who fails together with `url`: whatever a caller sends to one origin."""
    parts = urlsplit(url)
    return f"{caller} {parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def tell(connection: Connection, job: Job, note: Note, now: datetime) -> tuple[str, ...]:
    """Append to the timeline, and write a delivery for each subscription; those that can leave at once.

    The job's row is locked by the caller, so the number can't be taken twice.
    """
    values = {"job": job.id, **noted(note, now), **addressed(job.caller, note.type)}
    return tuple(row.id for row in _TOLD(connection, **values) if row.state == "pending")


def noted(note: Note, now: datetime) -> dict[str, Any]:
    """The values that an event has in the timeline."""
    data = {name: value for name, value in note.data.items() if value is not None}
    return {"type": note.type, "at": now, "data": data}


def addressed(caller: str, kind: str, urls: Sequence[str] = ()) -> dict[str, Any]:
    """The values that say who hears of an event of this kind: subscriptions of the caller, and these receivers."""
    return {
        "caller": caller,
        "patterns": events.patterns(events.told_as(kind)),
        "urls": list(urls),
        "names": [receiver(caller, url) for url in urls],
    }


_TOLD = Statement(
    of_parts(
        {"job": "select cast(:job as text) as id", **written("job", told=True)}, "select id, state from delivered"
    ).bindparams(
        bindparam("data", type_=JSONB),
        bindparam("at", type_=DateTime(timezone=True)),
        bindparam("patterns", type_=ARRAY(Text)),
    )
)
#: As `tell`, for the timeline alone.
NOTED = Statement(
    of_parts(
        {"job": "select cast(:job as text) as id", **written("job", told=False)}, "select id from event"
    ).bindparams(bindparam("data", type_=JSONB), bindparam("at", type_=DateTime(timezone=True)))
)
