"""Messages to other apps (`on_done`) that may still be in the broker, and sending again those that it has lost.

A message counts as untaken (`UNTAKEN`) until its queue shows that a worker of the app has taken it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import DateTime, Engine, Text, bindparam, delete, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from infra.db import single
from infra.statement import Rows, Statement
from worker.jobs import retry
from worker.jobs.brokers import SKEW, Known, Loss
from worker.store.tables import brokers
from worker.store.tables_told import UNTAKEN

#: Rows of one statement.
BATCH = 1000
#: A queue in which so many messages wait is not looked into row by row: its worker is away.
_DEEP = 10_000
#: Days after which a broker that was not seen again is forgotten.
_FORGOTTEN = timedelta(days=30)

# Hops from queue to queue through the index, however many rows wait in each.
_WATCHED = Statement(
    text(
        f"""
    with recursive queue (name) as (
        (select split_part(url, '/', 3) from deliveries where {UNTAKEN} order by 1 limit 1)
        union all
        select (
            select split_part(url, '/', 3) from deliveries
            where {UNTAKEN} and split_part(url, '/', 3) > queue.name order by 1 limit 1
        )
        from queue where queue.name is not null
    )
    select array(select name from queue where name is not null) as queues, array(
        select jsonb_build_array(id, marked_at, server, evicted) from brokers order by marked_at desc limit 10
    ) as known
    """  # noqa: S608 - words of ours
    )
)

# A queue gives its oldest first: where `waiting` lie, all but so many of ours were taken. What was told a moment ago
# may still be with a worker that dies, or have left in another order than it was written down; or it came after they
# were counted, and is none of them.
_TAKEN = Statement(
    text(
        f"""
    update deliveries set taken_at = :now where id in (
        select id from deliveries
        where {UNTAKEN} and split_part(url, '/', 3) = :queue and delivered_at <= :quiet and (
            :waiting = 0 or delivered_at < (
                select delivered_at from deliveries
                where {UNTAKEN} and split_part(url, '/', 3) = :queue and delivered_at <= :counted
                order by delivered_at desc offset greatest(:waiting - 1, 0) limit 1
            ) - :skew
        )
        order by delivered_at limit :batch for no key update skip locked
    ) and {UNTAKEN}
    """  # noqa: S608 - as above
    ).bindparams(*(bindparam(name, type_=DateTime(timezone=True)) for name in ("now", "quiet", "counted")))
)

# Its attempt counts on, so that one who has just sent it, or does it now, has the last word no more.
_AGAIN = """
    again as (
        update deliveries set state = 'pending', attempts = attempts + 1, tries = 0, begun = 0, claimed_until = null,
            delivered_at = null, due_at = greatest(:now, lost.told_at + interval '1 second' * case
                when lost.times > 0 then least(:pause * power(4, lost.times - 1), :longest) else 0 end)
        from lost where lost.id = deliveries.id
        returning deliveries.id, deliveries.attempts
    ), logged as (
        insert into attempts (delivery_id, number, at, seconds, error)
        select id, attempts, :now, 0, :reason from again
    )
    select count(*) as number from again
"""
_TIMES = "(select count(*) from attempts a where a.delivery_id = d.id and a.error = :reason)"
_OF_QUEUES = "(cast(:queues as text[]) is null or split_part(d.url, '/', 3) = any(cast(:queues as text[])))"
_MOMENTS = tuple(bindparam(name, type_=DateTime(timezone=True)) for name in ("now", "since", "until", "oldest"))
_LOST = Statement(
    text(
        f"""
    with lost as (
        select d.id, d.delivered_at as told_at, told.times
        from deliveries d cross join lateral (select {_TIMES} as times) told
        where {UNTAKEN} and delivered_at <= :until
            and (cast(:since as timestamptz) is null or delivered_at >= :since) and {_OF_QUEUES}
            and d.begun_at > :oldest
        order by delivered_at limit :batch for no key update of d skip locked
    ), {_AGAIN}
    """  # noqa: S608 - as above
    ).bindparams(*_MOMENTS, bindparam("queues", type_=ARRAY(Text)))
)
_UNDER_WAY = Statement(
    text(
        f"""
    with lost as (
        select d.id, cast(:now as timestamptz) as told_at, 0 as times from deliveries d
        where d.state = 'pending' and d.claimed_until is not null and d.url like 'celery://%' and {_OF_QUEUES}
        for no key update of d
    ), {_AGAIN}
    """  # noqa: S608 - as above
    ).bindparams(_MOMENTS[0], bindparam("queues", type_=ARRAY(Text)))
)
# Else a queue that is there no more would be missed at each look, for as long as they are kept.
_OUTLIVED = Statement(
    text(
        f"""
    update deliveries set taken_at = :now where id in (
        select d.id from deliveries d where {UNTAKEN} and {_OF_QUEUES} and d.begun_at <= :oldest
        limit :batch for no key update skip locked
    ) and {UNTAKEN}
    """  # noqa: S608 - as above
    ).bindparams(_MOMENTS[0], _MOMENTS[3], bindparam("queues", type_=ARRAY(Text)))
)
_RENEWED = Statement(
    text(
        """
    update brokers set marked_at = :now, server = :server, evicted = :evicted
    where id = :id and marked_at = :before
    """
    ).bindparams(bindparam("now", type_=DateTime(timezone=True)), bindparam("before", type_=DateTime(timezone=True)))
)


class Watched(NamedTuple):
    """What to look for in the broker."""

    queues: list[str]  #: in which something may lie that was told
    known: list[Known]  #: brokers, the last one first


class Untaken:
    """The rows of what was told by messages, and of brokers, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def watched(self) -> Watched:
        """What to look for."""
        row = _WATCHED.alone(self._engine).fetchone()
        known = [Known(one[0], datetime.fromisoformat(one[1]), *one[2:]) for one in row.known]
        return Watched(list(row.queues), known)

    def taken(self, queue: str, waiting: int, now: datetime, quiet: timedelta) -> None:
        """Note which messages were taken, given that `waiting` of them were in `queue` at `now` or a little later.

        A queue gives its oldest message first, so all but the newest `waiting` ones were. Those that were sent less
        than `quiet` ago are left out: their worker may still die with them.
        """
        if waiting <= _DEEP:
            values = {"queue": queue, "waiting": waiting, "now": now, "quiet": now - quiet, "counted": now - SKEW}
            _TAKEN.alone(self._engine, batch=BATCH, skew=SKEW, **values)

    def again(self, loss: Loss, until: datetime, now: datetime) -> int:
        """Make the messages due again that a broker took before `until` and has lost; how many there are.

        One that is lost again and again, as in a broker that evicts keys, is sent ever more rarely. One that is older
        than `DELIVER_HOURS` is not sent again, and not watched any more.
        """
        common = {"now": now, "reason": loss.reason, "queues": None if loss.queues is None else sorted(loss.queues)}
        common |= {"pause": retry.REPEAT_PAUSE, "longest": retry.REPEAT_LONGEST_PAUSE}
        done = _number(_UNDER_WAY.alone(self._engine, **common))
        common |= {"since": loss.since, "until": until, "oldest": now - timedelta(hours=retry.DELIVER_HOURS)}
        while some := _number(_LOST.alone(self._engine, **common, batch=BATCH)):
            done += some
        old = {"now": now, "oldest": common["oldest"], "queues": common["queues"], "batch": BATCH}
        while _OUTLIVED.alone(self._engine, **old).rowcount:
            pass
        return done

    def mark(self, made: Known) -> None:
        """Write down a mark under a new id: the broker had none, or one that proves nothing any more."""
        with single(self._engine).begin() as connection:
            connection.execute(upsert(brokers).values(**made._asdict()).on_conflict_do_nothing())
            connection.execute(delete(brokers).where(brokers.c.marked_at < made.marked_at - _FORGOTTEN))

    def renew(self, before: Known, made: Known) -> bool:
        """Write down that the mark `before` is about to be replaced; False when another process does that just now."""
        values = {"now": made.marked_at, "server": made.server, "evicted": made.evicted}
        return _RENEWED.alone(self._engine, id=before.id, before=before.marked_at, **values).rowcount == 1


def _number(counted: Rows) -> int:
    return int(counted[0].number)


def known_of(found_id: str | None, known: Sequence[Known]) -> Known | None:
    """The row of the broker whose mark was found."""
    return next((one for one in known if one.id == found_id), None)
