"""An event of a job and what it means for receivers, written in one statement: the timeline and the outbox agree.

With nobody to tell it costs one look at an index beside the row of the timeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, DateTime, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from infra.statement import Statement
from worker.jobs import events
from worker.jobs.model import ENDS, Job

#: Before the id of a subscription, where a delivery names its receiver.
SUBSCRIPTION = "subscription://"

_KEPT = Statement(
    text(
        """
    insert into events (job_id, sequence, type, at, data)
    values (:job, (select coalesce(max(sequence), 0) + 1 from events where job_id = :job), :type, :at, :data)
    """
    ).bindparams(bindparam("data", type_=JSONB), bindparam("at", type_=DateTime(timezone=True)))
)

# A subscription that is disabled keeps its events. The lock lets none be written past one who enables it just now.
_TOLD = Statement(
    text(
        """
    with event as (
        insert into events (job_id, sequence, type, at, data)
        values (:job, (select coalesce(max(sequence), 0) + 1 from events where job_id = :job), :type, :at, :data)
        returning id, job_id, sequence
    ), subscribed as (
        select 'subscription://' || id as url, receiver, disabled_at is not null as held
        from subscriptions
        where caller = :caller and types && :patterns
        for share
    ), receiver as (
        select * from subscribed
        union all
        select url, name, false from unnest(:urls, :names) as own (url, name)
    )
    insert into deliveries (id, event_id, job_id, sequence, url, receiver, state, begun_at, due_at)
    select 'msg_' || replace(gen_random_uuid()::text, '-', ''), event.id, event.job_id, event.sequence, receiver.url,
        receiver.receiver, case when held then 'held' else 'pending' end, :at, case when held then null else :at end
    from event cross join receiver
    returning id, state
    """
    ).bindparams(
        bindparam("data", type_=JSONB),
        bindparam("at", type_=DateTime(timezone=True)),
        bindparam("patterns", type_=ARRAY(Text)),
        bindparam("urls", type_=ARRAY(Text)),
        bindparam("names", type_=ARRAY(Text)),
    )
)


@dataclass(frozen=True)
class Note:
    """Something that happened to a job, by its name in the timeline."""

    type: str
    data: Mapping[str, Any]


def receiver(caller: str, url: str) -> str:
    """Who fails together with `url`: whatever a caller sends to one origin."""
    parts = urlsplit(url)
    return f"{caller} {parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def keep(connection: Connection, job_id: str, note: Note, now: datetime) -> None:
    """Append to the timeline what is nobody's business but ours.

    The job's row is locked by the caller, so the number can't be taken twice.
    """
    _KEPT(connection, job=job_id, type=note.type, at=now, data=_data(note))


def tell(connection: Connection, job: Job, note: Note, now: datetime) -> tuple[str, ...]:
    """Append to the timeline, and write a delivery for each receiver; those that can leave at once.

    The job's own receivers, its callback_url and on_done, hear only how it ended.
    """
    ended = note.type == events.inner(job.state) and job.state in ENDS
    urls = [url for url in (job.callback_url, job.on_done) if url] if ended else []
    values = {
        "job": job.id,
        "type": note.type,
        "at": now,
        "data": _data(note),
        "caller": job.caller,
        "patterns": events.patterns(events.told_as(note.type)),
        "urls": urls,
        "names": [receiver(job.caller, url) for url in urls],
    }
    return tuple(row.id for row in _TOLD(connection, **values) if row.state == "pending")


def _data(note: Note) -> dict[str, Any]:
    return {name: value for name, value in note.data.items() if value is not None}
