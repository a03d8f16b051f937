"""What is learned of the provider's accounts: who may submit now, what stops, how long tasks take.

A slot is not a row: it is a job that is being submitted or run. So none can leak, and a restart forgets none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Text,
    bindparam,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from infra.db import single
from infra.statement import Statement
from worker.jobs import slots
from worker.jobs.model import Job, State
from worker.store.tables import accounts, expectations, jobs

#: States in which a job holds its slots.
HOLDING = (State.SUBMITTING, State.RUNNING)
#: How much a new observation counts at least in the average of how long tasks take.
_WEIGHT = 0.2


class NotAdmitted(Exception):
    """The account can't take the job now. `until` is when asking again is worth it; None: when a slot is freed."""

    def __init__(self, reason: str, until: datetime | None = None) -> None:
        super().__init__(reason)
        self.until = until


@dataclass(frozen=True)
class Account:
    """One pack of an account as it is seen: see `worker.jobs.slots.pack`."""

    name: str
    learned_limit: int | None
    stopped_at: datetime | None
    stopped_reason: str | None


class Accounts:
    """The rows of accounts and expectations, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._single = single(engine)

    def admit(self, connection: Connection, job: Job, account: str, configured: int, now: datetime) -> None:
        """Let `job` take its slots in the transaction of `connection`. Raises `NotAdmitted`.

        The account's row is locked until that transaction ends, so racing workers are admitted one by one.
        """
        name = slots.pack(account, job.family)
        row = _LOCKED(connection, pack=name).fetchone()
        if row is None:
            connection.execute(upsert(accounts).values(name=name).on_conflict_do_nothing())
            row = _LOCKED(connection, pack=name).fetchone()
        assert row is not None, "rows of accounts stay"
        if row.stopped_at is not None:
            if row.probe_at > now:
                raise NotAdmitted(f"account {account} is stopped: {row.stopped_reason}", row.probe_at)
            connection.execute(update(accounts).where(accounts.c.name == name).values(probe_at=now + slots.PROBE))
        if row.slots != configured:
            connection.execute(update(accounts).where(accounts.c.name == name).values(slots=configured))
        allowed = slots.limit(configured, row.learned_limit, row.learned_at, now)
        held, own, share = _held(connection, account, job, allowed)
        # A job that needs more slots than there are goes when it is alone.
        if held and held + job.slots > allowed:
            raise NotAdmitted(f"{held} of {allowed} slots are taken")
        if share and own and own + job.slots > share:
            raise NotAdmitted(f"{own} of the {share} slots that API key {job.caller} may hold are taken")

    def learn_limit(self, job: Job, now: datetime) -> int:
        """The provider refused `job` for want of a slot: as many as the others hold is what there is."""
        name = slots.pack(job.account, job.family)
        with self._engine.begin() as connection:
            learned = max(1, _held(connection, job.account, job, 0)[0] - job.slots)
            connection.execute(
                update(accounts).where(accounts.c.name == name).values(learned_limit=learned, learned_at=now)
            )
        return learned

    def stop(self, job: Job, reason: str, now: datetime) -> None:
        """No waiting heals what the provider said of this account: nothing more is submitted, but for probes."""
        name = slots.pack(job.account, job.family)
        values = {
            "stopped_at": func.coalesce(accounts.c.stopped_at, now),
            "stopped_reason": reason.replace("\0", "")[:500],
            "probe_at": now + slots.PROBE,
        }
        with self._engine.begin() as connection:
            connection.execute(update(accounts).where(accounts.c.name == name).values(**values))

    def resume(self, prefix: str, now: datetime) -> list[str]:
        """Let a stopped account go on, and wake what waits for it; the packs that were stopped. `prefix`: a name."""
        going_on = {"stopped_at": None, "stopped_reason": None, "probe_at": None}
        return self._open(_packs(prefix) & accounts.c.stopped_at.is_not(None), going_on, now)

    def forget_limits(self, prefix: str, now: datetime) -> list[str]:
        """Take the configured slots again, whatever refusals taught; the packs that had learned. `prefix`: a name."""
        unlearned = {"learned_limit": None, "learned_at": None}
        return self._open(_packs(prefix) & accounts.c.learned_limit.is_not(None), unlearned, now)

    def _open(self, which: ColumnElement[bool], values: Mapping[str, None], now: datetime) -> list[str]:
        """Change packs so that more is admitted, and make what waits for them due; their names."""
        with self._engine.begin() as connection:
            opened = update(accounts).where(which).values(**values).returning(accounts.c.name)
            names = list(connection.execute(opened).scalars())
            for name in names:
                account, _, kind = name.partition(":")
                connection.execute(
                    update(jobs)
                    .where(
                        jobs.c.account == account,
                        jobs.c.state == State.ACCEPTED,
                        jobs.c.family.startswith(f"{kind}/", autoescape=True),
                        jobs.c.due_at > now,
                    )
                    .values(due_at=now)
                )
        return names

    def all(self) -> list[Account]:
        """Every pack that was ever asked for, by name."""
        columns = (accounts.c.name, accounts.c.learned_limit, accounts.c.stopped_at, accounts.c.stopped_reason)
        with self._single.begin() as connection:
            return [Account(*row) for row in connection.execute(select(*columns).order_by(accounts.c.name))]

    # --- how long tasks take ------------------------------------------------------------------------------------
    def expected(self, kind: str) -> float | None:
        """Seconds that a task of this kind takes, learned; None while none was seen."""
        return self.outlook(kind)[0]

    def outlook(self, kind: str) -> tuple[float | None, bool]:
        """The same, and whether any account is stopped."""
        row = _OUTLOOK.alone(self._engine, kind=kind).fetchone()
        assert row is not None, "a question without a table has one answer"
        return row.seconds, row.stopped


def _kind(family: str) -> str:
    """What the families begin with whose tasks share slots."""
    return f"{family.partition('/')[0]}/"


def _held(connection: Connection, account: str, job: Job, allowed: int) -> tuple[int, int, int | None]:
    """Slots of an account that are held, those of them that the job's caller holds, and how many of those `allowed` in
    all he may.
    """
    of = {"account": account, "families": f"{_kind(job.family)}%", "caller": job.caller, "allowed": allowed}
    row = _HELD(connection, **of).fetchone()
    assert row is not None, "a sum has a row"
    return row.held, row.own, row.share


def _packs(prefix: str) -> ColumnElement[bool]:
    """One pack by its name, or all of an account."""
    return (accounts.c.name == prefix) | accounts.c.name.startswith(f"{prefix}:", autoescape=True)


# --- compiled once ----------------------------------------------------------------------------------------------
_PACK = bindparam("pack", type_=Text)
_LOCKED = Statement(select(accounts).where(accounts.c.name == _PACK).with_for_update())
_STOPPED = Statement(select(accounts.c.name).where(accounts.c.stopped_at.is_not(None)).limit(1))

#: Slots that a key may hold of those `allowed` in all: a number, or a part rounded up, from one; null for all.
_MOST = """case when slots_percent is not null
    then cast(greatest(1, ceil({allowed} * slots_percent / 100.0)) as integer) else api_keys.slots end"""
_HELD = Statement(
    text(
        """
    select coalesce(sum(slots), 0) as held, coalesce(sum(slots) filter (where caller = :caller), 0) as own,
        (select {most} from api_keys where name = :caller) as share
    from jobs where account = :account and family like :families and state in ('submitting', 'running')
    """.format(most=_MOST.format(allowed="cast(:allowed as integer)"))  # noqa: S608 - words of ours
    )
)

_EXPECTED = select(expectations.c.seconds).where(expectations.c.kind == bindparam("kind", type_=Text))
_OUTLOOK = Statement(
    select(
        _EXPECTED.scalar_subquery().label("seconds"),
        select(accounts.c.name).where(accounts.c.stopped_at.is_not(None)).exists().label("stopped"),
    )
)

#: Part of a statement that learns how long the task of the job of its part `moved` took.
LEARNED = f"""
    insert into expectations (kind, seconds, seen)
    select cast(:kind as text), cast(:seconds as double precision), 1 from moved
    on conflict (kind) do update set seen = expectations.seen + 1,
        seconds = expectations.seconds + (excluded.seconds - expectations.seconds)
            * greatest({_WEIGHT}, 1.0 / (expectations.seen + 1))
"""  # noqa: S608 - a number of ours

# As `worker.jobs.slots.limit` has it. It is only worked out where a key's share is a part.
_IN_FORCE = f"""(
    select greatest(1, least(slots, coalesce(learned_limit + greatest(
        0, floor(extract(epoch from :at - learned_at) / {slots.UNLEARN.total_seconds()})
    ), slots))) from accounts where name = :pack
)"""  # noqa: S608 - a number of ours
#: Part of a statement that makes the jobs due that may take the slots which the job of its part `moved` gave back:
#: those of the callers who hold the fewest first. Who holds as many as his key allows is passed over.
WOKEN = f"""
    update jobs set due_at = :at
    where state = 'accepted' and exists (select 1 from moved) and id in (
        select oldest.id
        from (
            select distinct on (caller) id, caller, slots, created_at from jobs
            where account = :account and family like :families and state = 'accepted' and due_at > :at
            order by caller, created_at
        ) oldest
        left join (
            select caller, sum(slots) as held from jobs
            where account = :account and family like :families and state in ('submitting', 'running') and id <> :job
            group by caller
        ) holders on holders.caller = oldest.caller
        left join api_keys on api_keys.name = oldest.caller
        cross join lateral (select {_MOST.format(allowed=_IN_FORCE)} as slots) may_hold
        where may_hold.slots is null or coalesce(held, 0) = 0 or held + oldest.slots <= may_hold.slots
        order by coalesce(held, 0), oldest.created_at limit :slots
    )
    returning id
"""  # noqa: S608 - words of ours


def given_back(job: Job) -> dict[str, object]:
    """The values of `WOKEN` that say which slots `job` gave back."""
    pack = slots.pack(job.account, job.family)
    return {"account": job.account, "families": f"{_kind(job.family)}%", "pack": pack, "slots": job.slots}
