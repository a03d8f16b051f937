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
    DateTime,
    Engine,
    Float,
    Integer,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert

from infra.db import single
from infra.statement import Statement
from worker.jobs import slots
from worker.jobs.model import Job, State
from worker.store.tables import accounts, api_keys, expectations, jobs

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
        with self._single.begin() as connection:
            if _STOPPED(connection).fetchone() is None:
                return []  # as nearly always
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
        with self._single.begin() as connection:
            row = _EXPECTED(connection, kind=kind).fetchone()
        return row.seconds if row else None

    def observe(self, kind: str, seconds: float) -> None:
        """A task of this kind took so long."""
        with self._single.begin() as connection:
            _OBSERVE(connection, new_kind=kind, new_seconds=seconds)


def wake(connection: Connection, job: Job, now: datetime) -> tuple[str, ...]:
    """Make the jobs due that may take the slots `job` gave back: those of the callers who hold the fewest first.

    Who holds as many as his key allows is passed over.
    """
    pack = slots.pack(job.account, job.family)
    values = {"account": job.account, "kind": _kind(job.family), "pack": pack, "now": now, "slots": job.slots}
    return tuple(row.id for row in _WAKE(connection, **values))


def _kind(family: str) -> str:
    """What the families begin with whose tasks share slots."""
    return f"{family.partition('/')[0]}/"


def _held(connection: Connection, account: str, job: Job, allowed: int) -> tuple[int, int, int | None]:
    """Slots of an account that are held, those of them that the job's caller holds, and how many of those `allowed` in
    all he may.
    """
    row = _HELD(connection, account=account, kind=_kind(job.family), caller=job.caller, allowed=allowed).fetchone()
    assert row is not None, "a sum has a row"
    return row.held, row.own, row.share


def _packs(prefix: str) -> ColumnElement[bool]:
    """One pack by its name, or all of an account."""
    return (accounts.c.name == prefix) | accounts.c.name.startswith(f"{prefix}:", autoescape=True)


# --- compiled once ----------------------------------------------------------------------------------------------
_PACK = bindparam("pack", type_=Text)
_LOCKED = Statement(select(accounts).where(accounts.c.name == _PACK).with_for_update())
_STOPPED = Statement(select(accounts.c.name).where(accounts.c.stopped_at.is_not(None)).limit(1))

_SAME = (
    jobs.c.account == bindparam("account", type_=Text),
    jobs.c.family.startswith(bindparam("kind", type_=Text)),
)
_IS_HOLDING = jobs.c.state.in_(list(map(literal, HOLDING)))
_CALLER = bindparam("caller", type_=Text)
_SUM = func.sum(jobs.c.slots)


def _most(allowed: ColumnElement[int]) -> ColumnElement[int | None]:
    """Slots that a key may hold of those `allowed` in all: a number, or a part rounded up, from one; null for all."""
    part = cast(func.greatest(1, func.ceil(allowed * api_keys.c.slots_percent / 100.0)), Integer)
    return case((api_keys.c.slots_percent.is_not(None), part), else_=api_keys.c.slots)


_HELD = Statement(
    select(
        func.coalesce(_SUM, 0).label("held"),
        func.coalesce(_SUM.filter(jobs.c.caller == _CALLER), 0).label("own"),
        select(_most(bindparam("allowed", type_=Integer)))
        .where(api_keys.c.name == _CALLER)
        .scalar_subquery()
        .label("share"),
    ).where(*_SAME, _IS_HOLDING)
)

_EXPECTED = Statement(select(expectations.c.seconds).where(expectations.c.kind == bindparam("kind", type_=Text)))
_SEEN = upsert(expectations).values(
    kind=bindparam("new_kind", type_=Text), seconds=bindparam("new_seconds", type_=Float), seen=1
)
_SHARE = func.greatest(_WEIGHT, 1.0 / (expectations.c.seen + 1.0))
_AVERAGE = expectations.c.seconds + (_SEEN.excluded.seconds - expectations.c.seconds) * _SHARE
_OBSERVE = Statement(
    _SEEN.on_conflict_do_update(index_elements=["kind"], set_={"seconds": _AVERAGE, "seen": expectations.c.seen + 1})
)

_NOW = bindparam("now", type_=DateTime(timezone=True))
_HOLDERS = select(jobs.c.caller, _SUM.label("held")).where(*_SAME, _IS_HOLDING).group_by(jobs.c.caller).subquery()
_OLDEST = (
    select(jobs.c.id, jobs.c.caller, jobs.c.slots, jobs.c.created_at)
    .where(*_SAME, jobs.c.state == State.ACCEPTED, jobs.c.due_at > _NOW)
    .ext(distinct_on(jobs.c.caller))
    .order_by(jobs.c.caller, jobs.c.created_at)
    .subquery()
)
_HOLDS = func.coalesce(_HOLDERS.c.held, 0)
# As `worker.jobs.slots.limit` has it. It is only worked out where a key's share is a part.
_UNLEARNED = func.floor(func.extract("epoch", _NOW - accounts.c.learned_at) / slots.UNLEARN.total_seconds())
_LEARNED = func.coalesce(accounts.c.learned_limit + func.greatest(0, _UNLEARNED), accounts.c.slots)
_IN_FORCE = select(func.greatest(1, func.least(accounts.c.slots, _LEARNED))).where(accounts.c.name == _PACK)
_MAY_HOLD = _most(_IN_FORCE.scalar_subquery())
_NEXT = (
    select(_OLDEST.c.id)
    .outerjoin(_HOLDERS, _HOLDERS.c.caller == _OLDEST.c.caller)
    .outerjoin(api_keys, api_keys.c.name == _OLDEST.c.caller)
    .where(or_(_MAY_HOLD.is_(None), _HOLDS == 0, _HOLDS + _OLDEST.c.slots <= _MAY_HOLD))
    .order_by(_HOLDS, _OLDEST.c.created_at)
    .limit(bindparam("slots", type_=Integer))
)
_WAKE = Statement(
    update(jobs).where(jobs.c.id.in_(_NEXT), jobs.c.state == State.ACCEPTED).values(due_at=_NOW).returning(jobs.c.id)
)
