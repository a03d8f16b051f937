"""The inbox: callbacks as they came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from infra.db import LOCK_SECONDS, sqlstate
from infra.elapsed import elapsed
from infra.log import logger
from infra.statement import Rows, Statement
from worker.kling.answers import GOES_ON
from worker.store.adoptions import STRAY
from worker.store.tables import callbacks

log = logger(__name__)

_GIVEN = """select * from unnest(
        cast(:jobs as text[]), cast(:digests as bytea[]), cast(:bodies as bytea[]), cast(:verdicts as text[]),
        cast(:words as text[]), cast(:times as timestamptz[]), cast(:counts as integer[])
    ) as given (job_id, sha256, body, verdict, status, received_at, count)"""
_ONCE = """on conflict (job_id, sha256) do update set
        verdict = case when excluded.verdict = 'understood' and kept.verdict <> 'understood'
            then excluded.verdict else kept.verdict end,
        status = case when excluded.verdict = 'understood' and kept.verdict <> 'understood'
            then excluded.status else kept.status end,
        received_at = case when excluded.verdict = 'understood' and kept.verdict <> 'understood'
            then excluded.received_at else kept.received_at end,
        repeats = case when excluded.verdict = 'understood' and kept.verdict <> 'understood'
            then excluded.repeats else kept.repeats + excluded.repeats + 1 end,
        unheard = kept.unheard or excluded.unheard
    returning job_id, sha256, repeats"""
#: One row each, all in one statement and one commit, which waits for nobody who works on their jobs: a job whose row is
#: held just then is made due by a later sweep, for the callback says so. A body that was refused and is understood now
#: is as new.
_PUT = Statement(
    text(f"""
with given as (
    {_GIVEN}
), due as (
    select id from jobs
    where id = any(cast(:jobs as text[])) and due_at > :now and lease_owner is null
        and (state <> 'running' or id = any(cast(:ending as text[])))
    order by id for no key update skip locked
), nudged as (
    update jobs set due_at = :now from due where jobs.id = due.id
), stored as (
    insert into callbacks as kept (job_id, sha256, body, verdict, status, received_at, repeats, unheard)
    select job_id, sha256, body, verdict, given.status, received_at, count - 1,
        (due.id is null and due_at is not null and due_at > :now and lease_owner is null
            and (jobs.state <> 'running' or jobs.id = any(cast(:ending as text[])))) or {STRAY}
    from given join jobs on jobs.id = given.job_id left join due on due.id = given.job_id
    order by job_id, sha256
    {_ONCE}
)
select job_id, sha256, repeats from stored
""")  # noqa: S608 - parts of ours
)
#: The same while the table of jobs is locked: all of them are left to a sweep to make due.
_KEEP = Statement(
    text(f"""
with given as (
    {_GIVEN}
)
insert into callbacks as kept (job_id, sha256, body, verdict, status, received_at, repeats, unheard)
select job_id, sha256, body, verdict, status, received_at, count - 1, true from given order by job_id, sha256
{_ONCE}
""")  # noqa: S608 - parts of ours
)
#: How providers call the end of a task in a callback, as a condition on its row.
ENDED = "callbacks.status in ('succeed', 'succeeded', 'failed')"
#: What a poll found before any callback came is late where one came nevertheless. Clocks differ: no delay is negative.
_HEALTH = Statement(
    text(f"""
with ended as (
    select data ->> 'found_by' as found_by, cast(data ->> 'ended_at' as timestamptz) as ended_at, (
        select min(received_at) from callbacks where callbacks.job_id = events.job_id and {ENDED}
    ) as received_at
    from events where at >= :since and data ->> 'found_by' is not null
), delayed as (
    select *, case when received_at < ended_at then 0 else extract(epoch from received_at - ended_at) end as delay
    from ended
)
select count(*) filter (where found_by = 'callback') as on_time,
    count(*) filter (where found_by <> 'callback' and received_at is not null) as late,
    count(*) filter (where found_by <> 'callback' and received_at is null) as missed,
    percentile_cont(0.5) within group (order by delay) as median,
    percentile_cont(0.95) within group (order by delay) as slow
from delayed
""")  # noqa: S608 - a condition of ours
)
#: Make the jobs due whose rows were held when their callbacks came; as `_PUT` does, not a running one that is said to
#: go on: where nobody may look at jobs that is kept for all. What was kept for a job that there is not goes; what tells
#: of a task that its job has ended without is for `worker.tasks.adopt`.
_REMIND = Statement(
    text(f"""
with free as (
    select id, state <> 'running' or exists (
        select 1 from callbacks where job_id = jobs.id and unheard
            and (status is null or lower(status) <> all(cast(:going as text[])))
    ) as wanted
    from jobs where id in (select job_id from callbacks where unheard) and not {STRAY}
    order by id limit :limit for no key update skip locked
), nudged as (
    update jobs set due_at = :now from free
    where jobs.id = free.id and wanted and due_at > :now and lease_owner is null
), gone as (
    delete from callbacks where unheard and not exists (select 1 from jobs where jobs.id = callbacks.job_id)
)
update callbacks set unheard = false from free where job_id = free.id and unheard
""")  # noqa: S608 - a condition of ours
)


#: Seconds for which nobody waits for `jobs` again once a whole statement waited in vain for all of it: whoever changes
#: the table takes his time. What waits as well without it, longer than so many seconds, waited for the same callback.
_APART_SECONDS = 5.0
_AT_ONCE_SECONDS = 0.1
#: Seconds within which a connection is known to be broken, unlike one to a server that is silent.
_BROKEN_SECONDS = 2.0
_LOCKED = "55P03"
#: Jobs that one sweep makes due so.
_REMINDED = 500
#: The verdict on a callback that says what it should; others say what is wrong.
UNDERSTOOD = "understood"


@dataclass(frozen=True)
class Arrival:
    """A callback that came for a job, and what we made of it."""

    job_id: str
    body: bytes
    verdict: str
    status: str | None
    at: datetime
    ends: bool = True  #: whether it says that the task ended, or says nothing that is known

    @cached_property
    def key(self) -> tuple[str, bytes]:
        """What makes it the same callback as another."""
        return self.job_id, sha256(self.body).digest()


class Health(NamedTuple):
    """How the tasks that ended in some time were told of."""

    on_time: int  #: by a callback that came before we asked
    late: int  #: by one that came after a poll had found the end
    missed: int  #: by none so far
    median: float | None  #: seconds from a task's end, by the provider's clock, to its callback; None without any
    slow: float | None  #: seconds that 95 of 100 took at most


class Inbox:
    """The rows of callbacks, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._patient = engine.execution_options(isolation_level="READ COMMITTED")
        self._apart_until = 0.0

    def put(self, arrivals: Sequence[Arrival]) -> list[bool | None]:
        """Store each callback once, and make their jobs due in the same statement. A repetition is only counted.

        A callback that only says that a task is still running does not make its job due. For each one returned: True
        when it is new, False when it was known, None when there is no such job. While the table of jobs is locked as a
        whole, all callbacks are stored unseen, and a later sweep makes the jobs due.
        """
        counts = Counter(one.key for one in arrivals)
        # Of equal bodies the one that was understood is kept: a signature is no part of them.
        best = {one.key: at for at, one in sorted(enumerate(arrivals), key=_is_understood)}
        single = [arrivals[at] for at in best.values()]
        values = {
            "jobs": [one.job_id for one in single],
            "digests": [one.key[1] for one in single],
            "bodies": [one.body for one in single],
            "verdicts": [one.verdict for one in single],
            "words": [one.status for one in single],
            "times": [one.at for one in single],
            "counts": [counts[one.key] for one in single],
            "ending": [one.job_id for one in single if one.ends],
            "now": max(one.at for one in single),
        }
        rows = self._put(values)
        repeats = {(row.job_id, bytes(row.sha256)): row.repeats for row in rows}
        new = {key for key, times in repeats.items() if times == counts[key] - 1}
        return [
            one.key in new and best[one.key] == at if one.key in repeats else None for at, one in enumerate(arrivals)
        ]

    def _put(self, values: Mapping[str, Any]) -> Rows:
        """Write them. If the connection breaks, they are written once more on a new one: writing twice does no harm.

        Not after more than `_BROKEN_SECONDS`: the sender has waited long enough, and will call again.
        """
        began = elapsed()
        try:
            return self._write(values)
        except DBAPIError as fault:
            if not fault.connection_invalidated or elapsed() - began > _BROKEN_SECONDS:
                raise
        return self._write(values)

    def _write(self, values: Mapping[str, Any]) -> Rows:
        if elapsed() >= self._apart_until:
            try:
                return _PUT.alone(self._engine, **values)
            except OperationalError as fault:
                if sqlstate(fault) != _LOCKED:
                    raise
            kept, seconds = self._keep(values)
            if seconds < _AT_ONCE_SECONDS:
                self._apart_until = elapsed() + _APART_SECONDS
                log.warning("inbox.apart", reason="the table of jobs is locked")
            return kept
        return self._keep(values)[0]

    def _keep(self, values: Mapping[str, Any]) -> tuple[Rows, float]:
        """Store them without a look at jobs; the rows, and the seconds that the write took."""
        with self._patient.begin() as connection:
            # The same callback may be on its way to the disk in another process: that is worth waiting for.
            connection.execute(text(f"set local lock_timeout = '{LOCK_SECONDS}s'"))
            began = elapsed()
            return _KEEP(connection, **values), elapsed() - began

    def remind(self, now: datetime) -> None:
        """Make jobs due whose rows were locked when a callback came for them; those that still are, the next time."""
        _REMIND.alone(self._engine, now=now, limit=_REMINDED, going=list(GOES_ON))

    def health(self, since: datetime) -> Health:
        """How the tasks were told of whose end was found since then."""
        row = _HEALTH.alone(self._engine, since=since).fetchone()
        assert row is not None, "it counts"
        return Health(*row)

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """The callbacks of a job in the order they came, without their bodies."""
        query = select(
            callbacks.c.id, callbacks.c.verdict, callbacks.c.status, callbacks.c.received_at, callbacks.c.repeats
        ).where(callbacks.c.job_id == job_id)
        with self._engine.begin() as connection:
            return [dict(row) for row in connection.execute(query.order_by(callbacks.c.id)).mappings()]


def _is_understood(numbered: tuple[int, Arrival]) -> bool:
    return numbered[1].verdict == UNDERSTOOD
