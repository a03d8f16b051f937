"""A subscription is told what happened before it was made, or while it could not be: the events that it never got.

A delivery is one for each event and receiver, so saying it twice does no harm. What it has taken is sent again by
`worker.store.deliveries` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import DateTime, Engine, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from infra.statement import Statement
from worker.jobs import events

# What was told is a state that a job came to, once as it was accepted, or that it wants a person. Each is due a
# microsecond after the one before, so that jobs too come in their order; a disabled subscription keeps them.
_TELL = Statement(
    text(
        """
    with subscription as (
        select 'subscription://' || id as url, caller, receiver, disabled_at is not null as held
        from subscriptions where id = :subscription for share
    ), page as (
        select e.id, e.job_id, e.sequence, row_number() over (order by e.id) as place
        from events e join jobs on jobs.id = e.job_id join subscription on subscription.caller = jobs.caller
        where e.id > :after and e.at >= :since and e.at < :until
            and (e.type = any(:types) or (e.sequence = 1 and e.type = any(:first)))
        order by e.id limit :most
    ), told as (
        insert into deliveries (id, event_id, job_id, sequence, url, receiver, state, begun_at, due_at)
        select 'msg_' || replace(gen_random_uuid()::text, '-', ''), page.id, page.job_id, page.sequence,
            subscription.url, subscription.receiver, case when held then 'held' else 'pending' end, :now,
            case when held then null else :now + (page.place - :most) * interval '1 microsecond' end
        from page cross join subscription
        on conflict (event_id, url) do update set state = excluded.state, begun_at = excluded.begun_at,
            due_at = excluded.due_at, tries = 0
        where deliveries.state = 'given_up'
        returning id, event_id, state
    )
    select
        array(select id from told where state = 'pending' order by event_id) as pending,
        (select count(*) from told) as told,
        (select case when count(*) = :most then max(id) end from page) as next
    """
    ).bindparams(
        *(bindparam(name, type_=DateTime(timezone=True)) for name in ("since", "until", "now")),
        *(bindparam(name, type_=ARRAY(Text)) for name in ("types", "first")),
    )
)


@dataclass(frozen=True)
class Span:
    """A part of what happened, by the time of events."""

    since: datetime
    until: datetime
    types: Sequence[str]  #: as a subscription has them: types, groups, *
    after: int = 0  #: the `next` of the part before
    most: int = 1000  #: events of this part


@dataclass(frozen=True)
class Told:
    """What was begun."""

    count: int
    pending: Sequence[str]  #: deliveries that can leave, in order
    next: int | None  #: where the next part begins; None after the last


class History:
    """What happened, for those who were not told, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def tell(self, subscription_id: str, span: Span, now: datetime) -> Told:
        """Begin a delivery of each event of its caller's jobs that a subscription was not told of, oldest first."""
        every, first = events.inner_names(span.types)
        values = {"since": span.since, "until": span.until, "after": span.after, "most": span.most, "now": now}
        with self._engine.begin() as connection:
            row = _TELL(connection, subscription=subscription_id, types=every, first=first, **values).fetchone()
        assert row is not None, "it has no condition"
        return Told(row.told, row.pending, row.next)
