"""Jobs that want a person: found by looking, and told once for each reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import DateTime, Engine, Text, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from worker.jobs.events import ATTENTION
from worker.store.buckets import AWAY
from worker.store.repository import Repository
from worker.store.runs import begin
from worker.store.tables import events, jobs
from worker.store.telling import Note, tell

_MOMENT = DateTime(timezone=True)

# Of each caller the job that has waited longest for an account that is stopped.
_STOPPED = text(
    """
    select distinct on (j.caller, a.name) j.id, a.stopped_reason as message
    from accounts a join jobs j on j.state = 'accepted' and a.name = j.account || ':' || split_part(j.family, '/', 1)
    where a.stopped_at is not null and not exists (
        select 1 from jobs other join events e on e.job_id = other.id
        where other.state = 'accepted' and other.account = j.account and other.caller = j.caller
            and e.type = 'job.attention' and e.data ->> 'reason' = 'account_stopped' and e.at >= a.stopped_at
    )
    order by j.caller, a.name, j.created_at
    """
)
# Of each caller and account the job that has waited longest, unless one was told of that waits still: what keeps one of
# them from Kling keeps all. With what was said last; a stopped account is another reason.
_UNSUBMITTED = text(
    """
    with putoff as (
        select id, caller, account, deferrals, created_at from jobs j
        where state in ('accepted', 'submitting') and (
            deferrals >= :most
            or state = 'accepted' and deferrals > 0 and not queued and due_at > :late
            or submissions >= :absences and exists (
                select 1 from events e where e.job_id = j.id and cast(e.data ->> 'absent' as integer) >= :absences
            )
        ) and not exists (
            select 1 from accounts a
            where a.name = j.account || ':' || split_part(j.family, '/', 1) and a.stopped_at is not null
        )
    ), told as (
        select distinct j.caller, j.account from jobs j join events e on e.job_id = j.id
        where j.state in ('accepted', 'submitting') and j.deferrals > 0
            and e.type = 'job.attention' and e.data ->> 'reason' = 'not_submitted'
    )
    select distinct on (caller, account) id, 'it was put off '
        || case deferrals when 1 then 'once' else deferrals || ' times' end || coalesce((
        select ', at last because of: ' || (e.data ->> 'reason') from events e
        where e.job_id = putoff.id and e.data ->> 'event' = 'submit_deferred' and e.data ->> 'reason' is not null
        order by e.sequence desc limit 1
    ), '') as message
    from putoff
    where (caller, account) not in (select caller, account from told)
    order by caller, account, created_at
    """
).bindparams(bindparam("late", type_=_MOMENT))
# Of each caller and account that nobody configured the job that has waited longest, with whether one was told of that
# waits still. One that may go elsewhere is not held up.
_NO_ACCOUNT = text(
    """
    with lacking as (
        select id, caller, account, state, submissions, fallbacks, created_at from jobs
        where due_at is not null and not account = any(:names)
    ), told as (
        select distinct l.caller, l.account from lacking l join events e on e.job_id = l.id
        where e.type = 'job.attention' and e.data ->> 'reason' = 'account_missing'
    )
    select distinct on (caller, account) id, account, (caller, account) in (select caller, account from told) as told
    from lacking
    where state <> 'waiting'
        and not (state = 'accepted' and submissions = 0 and string_to_array(fallbacks, ',') && :names)
    order by caller, account, created_at
    """
).bindparams(bindparam("names", type_=ARRAY(Text)))
# Of each caller and bucket that takes nothing the job that has waited longest, unless one was told of that waits still.
_BUCKET_AWAY = text(
    f"""
    select distinct on (j.caller, b.name) j.id, 'since '
        || to_char(b.since at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI"Z"')
        || ' no file could be stored; it is tried on: ' || b.reason as message
    from buckets b join jobs j on j.bucket = b.name and j.state = 'copying' and j.error_code = '{AWAY}'
    where j.due_at is not null and (b.lasts or b.since <= :since) and not exists (
        select 1 from jobs other join events e on e.job_id = other.id
        where other.due_at is not null and other.bucket = b.name and other.caller = j.caller
            and e.type = 'job.attention' and e.data ->> 'reason' = 'bucket_away' and e.at >= b.since
    )
    order by j.caller, b.name, j.created_at
    """  # noqa: S608 - a word of ours
).bindparams(bindparam("since", type_=_MOMENT))
_SLOW = text(
    """
    select id, 'it was expected at ' || to_char(expected_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as message from jobs
    where state = 'running' and expected_at < :since
        and expected_at + 2 * (expected_at - submitted_at) < :now and not exists (
            select 1 from events e
            where e.job_id = jobs.id and e.type = 'job.attention' and e.data ->> 'reason' = 'slow'
        )
    order by expected_at limit 100
    """
).bindparams(bindparam("since", type_=_MOMENT), bindparam("now", type_=_MOMENT))
#: What a job's row says while the store refuses a file of it as it is, and will until a person changes something.
UNSTORABLE = "unstorable"
_NOT_COPIED = text(
    f"""
    select id, case when error_code = '{UNSTORABLE}' then 'the store refuses its files: ' || error_message
        else 'its files could not be copied '
            || case archive_attempts when 1 then 'once' else archive_attempts || ' times' end end as message from jobs
    where due_at is not null and state = 'copying'
        and (archive_attempts >= :most or archive_attempts > 0 and due_at > :late or error_code = '{UNSTORABLE}')
        and not exists (
        select 1 from events e
        where e.job_id = jobs.id and e.type = 'job.attention' and e.data ->> 'reason' = 'not_copied'
    )
    order by created_at limit 100
    """  # noqa: S608 - a word of ours
).bindparams(bindparam("late", type_=_MOMENT))


class NoAccount(NamedTuple):
    """A job whose account is not among the configured ones."""

    job_id: str
    account: str
    told: bool  #: whether it, or another of the same caller and account, was told of


class Attention:
    """What wants a person, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = Repository(engine)

    def attend(self, job_id: str, reason: str, message: str, now: datetime, *, once: bool = False) -> tuple[str, ...]:
        """Say of a job that it wants a person; the deliveries that can leave. `once`: unless that was said before."""
        job = self._store.get(job_id)
        if job is None:
            return ()
        said = select(events.c.id).where(
            events.c.job_id == job_id, events.c.type == ATTENTION.type, events.c.data["reason"].astext == reason
        )
        with self._engine.begin() as connection:
            connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())
            if once and connection.execute(said.limit(1)).first():
                return ()
            return tell(connection, job, Note(ATTENTION.type, {"reason": reason, "message": message}), now)

    def attend_each(
        self, job_id: str, reason: str, opening: str, each: Mapping[str, str], now: datetime, every: timedelta
    ) -> tuple[str, ...]:
        """The same of those things, by name, of which the job's caller was not told since `every`: each with what is
        said of it. What is written down as told is told, or neither is.
        """
        job = self._store.get(job_id)
        if job is None:
            return ()
        with self._engine.begin() as connection:
            connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())
            new = [name for name in sorted(each) if begin(connection, f"{reason}: {job.caller}: {name}", now, every)]
            if not new:
                return ()
            message = f"{opening}: {'; '.join(f'{name} ({each[name]})' for name in new)}"
            return tell(connection, job, Note(ATTENTION.type, {"reason": reason, "message": message}), now)

    def slow(self, now: datetime, grace: timedelta) -> list[tuple[str, str]]:
        """Running jobs that take more than three times what was expected, and `grace`; each with a sentence."""
        with self._engine.begin() as connection:
            rows = connection.execute(_SLOW, {"since": now - grace, "now": now})
            return [(row.id, row.message) for row in rows]

    def not_copied(self, late: datetime, most: int) -> list[tuple[str, str]]:
        """Jobs whose files could not be copied at least `most` times, or that were then put off beyond `late`, and that
        were not told of; with a sentence.
        """
        with self._engine.begin() as connection:
            rows = connection.execute(_NOT_COPIED, {"late": late, "most": most})
            return [(row.id, row.message) for row in rows]

    def away(self, since: datetime) -> list[tuple[str, str]]:
        """One job of each caller and bucket that has taken no files since then, or will take none; with the reason."""
        with self._engine.begin() as connection:
            return [(row.id, row.message) for row in connection.execute(_BUCKET_AWAY, {"since": since})]

    def stopped(self) -> list[tuple[str, str]]:
        """One job of each caller who waits for a stopped account and was not told so; each with the reason."""
        with self._engine.begin() as connection:
            return [(row.id, row.message or "") for row in connection.execute(_STOPPED)]

    def no_account(self, names: Iterable[str]) -> list[NoAccount]:
        """One job of each caller and account that is not among `names`, the configured ones."""
        with self._engine.begin() as connection:
            return [NoAccount(*row) for row in connection.execute(_NO_ACCOUNT, {"names": list(names)})]

    def unsubmitted(self, late: datetime, most: int, absences: int) -> list[tuple[str, str]]:
        """One job of each caller and account that was put off at least `most` times, or beyond `late`, or of which
        `absences` creates made no task; with the last reason.
        """
        with self._engine.begin() as connection:
            rows = connection.execute(_UNSUBMITTED, {"late": late, "most": most, "absences": absences})
            return [(row.id, row.message) for row in rows]
