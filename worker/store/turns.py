"""Whose turn it is for the slots of a pack. All of it is decided under the lock of the pack's row in `accounts`.

Slots in use are not stored: they are counted from the jobs that are being submitted or run. So none can leak, and a
restart forgets none. A job that found no free slot is `queued`, and no job whose turn is later gets one before it.
Whoever frees slots makes the next jobs due. Should that be missed (a process dies, or a job is queued in the same
moment), the next sweep does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Text, bindparam, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from infra.statement import Statement
from worker.jobs import slots
from worker.jobs.model import Job, State
from worker.jobs.slots import Asking
from worker.store.beginnings import STEP
from worker.store.tables import accounts

#: States in which a job holds its slots.
HOLDING = (State.SUBMITTING, State.RUNNING)


class NotAdmitted(Exception):
    """The account can't take the job now. It is woken when it may ask again."""


class Held(NamedTuple):
    """What is held of a pack, as one caller sees it."""

    held: int  #: slots in all
    own: int  #: his
    share: int | None  #: how many he may hold; None for all
    waited: bool  #: whether any job is queued


def admit(connection: Connection, job: Job, account: str, configured: int, now: datetime) -> None:
    """Let `job` take its slots in the transaction of `connection`. Raises `NotAdmitted`.

    The pack's row is locked until that transaction ends, so racing workers are admitted one by one.
    """
    name = slots.pack(account, job.family)
    row = _LOCKED(connection, pack=name).fetchone()
    if row is None:
        know(connection, name)
        row = _LOCKED(connection, pack=name).fetchone()
    assert row is not None, "rows of accounts stay"
    if row.stopped_at is not None:
        if row.probe_at > now:
            raise NotAdmitted(f"account {account} is stopped: {row.stopped_reason}")
        connection.execute(update(accounts).where(accounts.c.name == name).values(probe_at=now + slots.PROBE))
    if row.slots != configured:
        connection.execute(update(accounts).where(accounts.c.name == name).values(slots=configured))
    allowed = slots.limit(configured, row.learned_limit, row.learned_at, now)
    held, own, share, waited = held_of(connection, name, job.caller, allowed)
    # A job that needs more slots than there are goes when it is alone.
    if held and held + job.slots > allowed:
        raise NotAdmitted(f"{held} of {allowed} slots are taken")
    if share and own and own + job.slots > share:
        raise NotAdmitted(f"{own} of the {share} slots that API key {job.caller} may hold are taken")
    if waited and job.id not in _turns(connection, row, allowed, job, share):
        raise NotAdmitted("it is the turn of others that wait")


def know(connection: Connection, pack: str) -> None:
    """Let there be a row of a pack."""
    connection.execute(upsert(accounts).values(name=pack).on_conflict_do_nothing())


def wake(engine: Engine, pack: str, now: datetime, configured: int | None = None) -> tuple[str, ...]:
    """Make those queued jobs due that may have the free slots of a pack; those of them that were not on their way.

    `configured`: slots of the account, where that is known; else as somebody last saw them.
    """
    with engine.begin() as connection:
        row = _LOCKED(connection, pack=pack).fetchone()
        if row is None or (row.stopped_at is not None and row.probe_at > now):
            return ()
        if configured is not None and configured != row.slots:
            connection.execute(update(accounts).where(accounts.c.name == pack).values(slots=configured))
        most = configured or row.slots
        if most is None:
            return ()
        turns = _turns(connection, row, slots.limit(most, row.learned_limit, row.learned_at, now))
        return tuple(woken.id for woken in _WAKE(connection, ids=turns, now=now, soon=now + STEP)) if turns else ()


def waited_for(engine: Engine) -> list[str]:
    """The packs for which jobs are queued."""
    return [row.name for row in _WAITED_FOR.alone(engine)]


def held_of(connection: Connection, pack: str, caller: str, allowed: int) -> Held:
    """What is held of a pack of which `allowed` slots are in force."""
    row = _HELD(connection, **of(pack), caller=caller, allowed=allowed).fetchone()
    assert row is not None, "a sum has a row"
    return Held(*row)


def of(pack: str) -> Mapping[str, str]:
    """The values by which statements know a pack."""
    account, _, kind = pack.partition(":")
    return {"account": account, "kind": kind}


def _turns(
    connection: Connection, row: Any, allowed: int, job: Job | None = None, share: int | None = None
) -> list[str]:
    """The jobs that may have what is free, of those that are queued and `job`, of whose caller the `share` is known."""
    held = {each.caller: each.held for each in _HOLDERS(connection, **of(row.name))}
    free = allowed - sum(held.values())
    if free <= 0:
        return []
    rows = _ASKING(connection, **of(row.name), most=free, allowed=allowed)
    asking = {each.id: Asking(each.id, each.caller, each.slots, each.created_at) for each in rows}
    shares = {each.caller: each.share for each in rows if each.share}
    if job:
        asking[job.id] = Asking(job.id, job.caller, job.slots, job.created_at)
        shares |= {job.caller: share} if share else {}
    turns = slots.in_turn(asking.values(), held, shares, allowed)
    return turns[:1] if row.stopped_at is not None else turns


# --- compiled once ----------------------------------------------------------------------------------------------
_LOCKED = Statement(select(accounts).where(accounts.c.name == bindparam("pack", type_=Text)).with_for_update())

_QUEUED = "state = 'accepted' and queued and split_part(family, '/', 1) = :kind"
_HERE = f"{_QUEUED} and account = :account"
#: It may go to another account as long as none was asked.
_FROM_ELSEWHERE = f"""{_QUEUED} and account <> :account and fallbacks <> '' and submissions = 0
    and cast(:account as text) = any(string_to_array(fallbacks, ','))"""
#: Whether any job waits for a pack.
WAITED = f"""(exists (select 1 from jobs where {_HERE}) or exists (select 1 from jobs where {_FROM_ELSEWHERE}))"""  # noqa: S608 - words of ours
_HOLDS = """account = :account and split_part(family, '/', 1) = :kind and state in ('submitting', 'running')"""
#: Slots that a key may hold of those `allowed` in all: a number, or a part rounded up, from one; null for all.
_MOST = """case when api_keys.slots_percent is not null
    then cast(greatest(1, ceil(cast(:allowed as integer) * api_keys.slots_percent / 100.0)) as integer)
    else api_keys.slots end"""

_HELD = Statement(
    text(
        f"""
    select coalesce(sum(slots), 0) as held, coalesce(sum(slots) filter (where caller = :caller), 0) as own,
        (select {_MOST} from api_keys where name = :caller) as share, {WAITED} as waited
    from jobs where {_HOLDS}
    """  # noqa: S608 - words of ours
    )
)
_HOLDERS = Statement(text(f"select caller, sum(slots) as held from jobs where {_HOLDS} group by caller"))  # noqa: S608 - as above
# Hops from caller to caller through the index: no more is read of a long line than could be woken.
_ASKING = Statement(
    text(
        f"""
    with recursive callers as (
        (select caller from jobs where {_HERE} order by caller limit 1)
        union all
        select (select j.caller from jobs j where {_HERE} and j.caller > callers.caller order by j.caller limit 1)
        from callers where callers.caller is not null
    ), asking as (
        select line.* from callers cross join lateral (
            select id, j.caller, slots, created_at from jobs j
            where {_HERE} and j.caller = callers.caller order by created_at, id limit :most
        ) line
        union all
        select id, caller, slots, created_at from (
            select *, row_number() over (partition by caller order by created_at, id) as place
            from jobs where {_FROM_ELSEWHERE}
        ) others where place <= :most
    )
    select asking.*, {_MOST} as share from asking left join api_keys on api_keys.name = asking.caller
    """  # noqa: S608 - as above
    )
)
# What was claimed or begun is due sooner than what waits to be woken, and is on its way.
_WAKE = Statement(
    text(
        """
    update jobs set due_at = :now where id in (
        select id from jobs where id = any(:ids) and state = 'accepted' and due_at > :soon
        for no key update skip locked
    ) returning id
    """
    ).bindparams(bindparam("ids", type_=ARRAY(Text)))
)
_WAITED_FOR = Statement(
    text(
        f"""
    select name from accounts
    cross join lateral (select split_part(name, ':', 1) as account, split_part(name, ':', 2) as kind) pack
    where {WAITED.replace(":account", "pack.account").replace(":kind", "pack.kind")} order by name
    """  # noqa: S608 - as above
    )
)
