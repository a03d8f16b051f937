"""What is learned of the provider's accounts: how many slots they have, what stops them, how long tasks take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Text,
    bindparam,
    func,
    select,
    text,
    update,
)

from infra.db import single
from infra.statement import Statement
from worker.jobs import retry, slots
from worker.jobs.model import Job
from worker.store import turns
from worker.store.beginnings import STEP
from worker.store.tables import accounts, expectations

#: How much a new observation counts at least in the average of how long tasks take.
_WEIGHT = 0.2
#: No job is put off for longer that the provider has refused.
_LONGEST_WAIT = timedelta(seconds=retry.LONGEST_RETRY_AFTER * (1 + retry.JITTER))


@dataclass(frozen=True)
class Account:
    """One pack of an account as it is seen: see `worker.jobs.slots.pack`."""

    name: str
    learned_limit: int | None
    learned_at: datetime | None
    stopped_at: datetime | None
    stopped_reason: str | None


class Accounts:
    """The rows of accounts and expectations, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._single = single(engine)

    def admit(self, connection: Connection, job: Job, account: str, configured: int, now: datetime) -> None:
        """As `worker.store.turns.admit`."""
        turns.admit(connection, job, account, configured, now)

    def wake(self, pack: str, now: datetime, configured: int | None = None) -> tuple[str, ...]:
        """As `worker.store.turns.wake`."""
        return turns.wake(self._engine, pack, now, configured)

    def wake_all(self, now: datetime, concurrency: Callable[[str], int | None]) -> list[str]:
        """The same for every pack of a configured account: whom nobody woke, or a limit or a stop that ends lets go."""
        packs = {pack: concurrency(pack.partition(":")[0]) for pack in turns.waited_for(self._engine)}
        return [job for pack, most in packs.items() if most for job in self.wake(pack, now, most)]

    def expect(self, pack: str) -> None:
        """Jobs wait for a pack that may not be known yet: once its account is configured, `wake_all` finds them."""
        with self._engine.begin() as connection:
            turns.know(connection, pack)

    def learn_limit(self, job: Job, now: datetime) -> int:
        """The provider refused `job` for want of a slot: as many as the others hold is what there is."""
        name = slots.pack(job.account, job.family)
        with self._engine.begin() as connection:
            learned = max(1, turns.held_of(connection, name, job.caller, 0).held - job.slots)
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
        """Let a stopped account go on, and wake what waits for it, or was put off as it was refused; the packs that
        were stopped. `prefix`: a name.
        """
        going_on = {"stopped_at": None, "stopped_reason": None, "probe_at": None}
        names = self._open(_packs(prefix) & accounts.c.stopped_at.is_not(None), going_on, now)
        for name in names:
            _PUT_OFF.alone(self._engine, **turns.of(name), now=now, soon=now + STEP, longest=now + _LONGEST_WAIT)
        return names

    def forget_limits(self, prefix: str, now: datetime) -> list[str]:
        """Take the configured slots again, whatever refusals taught; the packs that had learned. `prefix`: a name."""
        unlearned = {"learned_limit": None, "learned_at": None}
        return self._open(_packs(prefix) & accounts.c.learned_limit.is_not(None), unlearned, now)

    def _open(self, which: ColumnElement[bool], values: Mapping[str, None], now: datetime) -> list[str]:
        """Change packs so that more is admitted, and wake what may go; their names."""
        opened = update(accounts).where(which).values(**values).returning(accounts.c.name)
        with self._engine.begin() as connection:
            names = list(connection.execute(opened).scalars())
        for name in names:
            self.wake(name, now)
        return names

    def all(self) -> list[Account]:
        """Every pack that was ever asked for, by name."""
        columns = [accounts.c[one.name] for one in fields(Account)]
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


def _packs(prefix: str) -> ColumnElement[bool]:
    """One pack by its name, or all of an account."""
    return (accounts.c.name == prefix) | accounts.c.name.startswith(f"{prefix}:", autoescape=True)


# --- compiled once ----------------------------------------------------------------------------------------------
_EXPECTED = select(expectations.c.seconds).where(expectations.c.kind == bindparam("kind", type_=Text))
_OUTLOOK = Statement(
    select(
        _EXPECTED.scalar_subquery().label("seconds"),
        select(accounts.c.name).where(accounts.c.stopped_at.is_not(None)).exists().label("stopped"),
    )
)

# What was begun is due sooner, and on its way.
_PUT_OFF = Statement(
    text(
        """
    update jobs set due_at = :now where id in (
        select id from jobs
        where due_at > :soon and due_at <= :longest and state = 'accepted' and deferrals > 0 and begun = 0
            and not queued and account = :account and split_part(family, '/', 1) = :kind
        for no key update skip locked
    )
    """
    ).bindparams(*(bindparam(name, type_=DateTime(timezone=True)) for name in ("now", "soon", "longest")))
)

#: Part of a statement that learns how long the task of the job of its part `moved` took.
LEARNED = f"""
    insert into expectations (kind, seconds, seen)
    select cast(:kind as text), cast(:seconds as double precision), 1 from moved
    on conflict (kind) do update set seen = expectations.seen + 1,
        seconds = expectations.seconds + (excluded.seconds - expectations.seconds)
            * greatest({_WEIGHT}, 1.0 / (expectations.seen + 1))
"""  # noqa: S608 - a number of ours
