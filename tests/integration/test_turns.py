"""Whose turn it is for an account's slots: nobody passes who holds more, nobody starves, nothing lies idle."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from tests.fakes import MORNING, race
from tests.integration.slots_kit import begin, ended, new, the
from worker.jobs.model import State
from worker.store.accounts import Accounts
from worker.store.keys import ApiKeys, Terms
from worker.store.repository import Repository

IMAGES = "images/generations"
LEASE = timedelta(seconds=20)
#: Slots of the account; those that one caller may hold.
MOST, SHARE = 4, 2


def test_a_fresh_job_does_not_pass_one_that_waits(engine: Engine) -> None:
    """Thirty times a greedy caller's next job is asked for before the one that was woken: the latter goes at once."""
    store, accounts = Repository(engine), Accounts(engine)
    for name, caller in (("many0", "many"), ("few0", "few")):
        store.accept(new(name, caller), MORNING)
    assert [True, False] == [begin(store, accounts, name, 1) for name in ("many0", "few0")]
    went = ["many0"]
    for number in range(1, 31):
        store.accept(new(f"many{number}", "many"), MORNING + timedelta(seconds=number))
        woken = ended(store, went[-1], number)
        went += [name for name in (f"many{number}", *woken) if begin(store, accounts, name, 1, number)]

    assert ["many0", "few0", *(f"many{number}" for number in range(1, 30))] == went


def test_slots_are_kept_for_a_large_job(engine: Engine) -> None:
    """A job of four images against a stream of single ones: four ends later it goes, and no single one before it."""
    store, accounts = Repository(engine), Accounts(engine)
    for number in range(4):
        store.accept(new(f"s{number}", "a", family=IMAGES), MORNING)
        assert begin(store, accounts, f"s{number}", 4)
    store.accept(new("big", "b", held=4, family=IMAGES), MORNING)
    assert not begin(store, accounts, "big", 4)
    went = []
    for number in range(4, 8):
        store.accept(new(f"s{number}", "a", family=IMAGES), MORNING + timedelta(seconds=number))
        woken = ended(store, f"s{number - 4}", number)
        went += [name for name in (f"s{number}", *woken) if begin(store, accounts, name, 4, number)]

    assert ["big"] == went


def test_all_the_slots_that_come_free_are_filled(engine: Engine) -> None:
    """A job of nine images ends: nine of its caller's twenty single ones are woken, the oldest, and nobody twice."""
    store, accounts = Repository(engine), Accounts(engine)
    store.accept(new("big", held=9, family=IMAGES), MORNING)
    assert begin(store, accounts, "big", 9)
    for number in range(20):
        store.accept(new(f"s{number:02}", family=IMAGES), MORNING + timedelta(seconds=number))
        assert not begin(store, accounts, f"s{number:02}", 9, number)

    woken = ended(store, "big", 30)

    assert [f"s{number:02}" for number in range(9)] == sorted(woken)
    assert [] == accounts.wake_all(MORNING + timedelta(seconds=31), lambda _: 9)
    assert all(begin(store, accounts, name, 9, 31) for name in woken)


def test_what_a_caller_holds_is_measured_by_what_he_may(engine: Engine) -> None:
    """Two of three is more than three of ten: the freed slot goes to the one without a share."""
    store, accounts = Repository(engine), Accounts(engine)
    ApiKeys(engine, b"s").create("small", MORNING, Terms(slots=3))
    for late, (caller, count) in enumerate((("small", 3), ("large", 4), ("other", 5))):
        for number in range(count):
            store.accept(new(f"{caller}{number}", caller), MORNING + timedelta(seconds=late))
    first = [("small", 2), ("large", 3), ("other", 5)]
    assert all(begin(store, accounts, f"{caller}{number}", 10) for caller, count in first for number in range(count))
    assert [False, False] == [begin(store, accounts, name, 10) for name in ("small2", "large3")]

    assert ("large3",) == ended(store, "other0")


def test_a_turn_that_is_given_up_is_somebody_else_s(engine: Engine) -> None:
    """The large job that slots were kept for is cancelled, or the woken one is lost: the next ones go."""
    store, accounts = Repository(engine), Accounts(engine)
    for name, size in (("a", 1), ("big", 2), ("c", 1), ("d", 1)):
        store.accept(new(name, name, held=size), MORNING)
    assert [True, False, False, False] == [begin(store, accounts, name, 2) for name in ("a", "big", "c", "d")]

    assert ("c",) == ended(store, "big")
    late = MORNING + timedelta(seconds=5)
    assert ["c"] == [due.job_id for due in store.claim_due(late, lease=LEASE, limit=9)]
    assert [] == accounts.wake_all(late, lambda _: 2)  # its message is under way
    assert ("d",) == ended(store, "a", 6)


def test_racing_workers_fill_the_slots_and_no_more(engine: Engine) -> None:
    """Eight workers end, ask and wake at once for 40 jobs of three callers and five slots: never more, never fewer."""
    store, accounts = Repository(engine), Accounts(engine)
    names = [f"job{number:02}" for number in range(40)]
    for number, name in enumerate(names):
        store.accept(new(name, f"caller{number % 3}"), MORNING + timedelta(seconds=number))
    todo, lock, seen = list(names), threading.Lock(), []

    def work() -> None:
        while True:
            with lock:
                name = todo.pop(0) if todo else None
            if name is None:
                return
            if begin(store, accounts, name, MOST, 60):
                with engine.connect() as connection:
                    seen.append(connection.execute(text(_HELD)).scalar_one())
                woken = ended(store, name, 60)
                with lock:
                    todo.extend(woken)

    for _ in range(40):
        race(*[work] * 8)
        late = MORNING + timedelta(seconds=60)
        accounts.wake_all(late, lambda _: MOST)
        todo = [due.job_id for due in store.claim_due(late, lease=timedelta(0), limit=99)]
        if not todo:
            break

    assert {State.FAILED} == {the(store, name).state for name in names}
    assert max(seen) <= MOST


_HELD = "select coalesce(sum(slots), 0) from jobs where state in ('submitting', 'running')"


class Crowd:
    """Callers at the slots of one account, in any order, with messages that come late or never."""

    def __init__(self, engine: Engine) -> None:
        with engine.begin() as connection:
            connection.execute(text("truncate jobs, accounts, api_keys cascade"))
        ApiKeys(engine, b"s").create("small", MORNING, Terms(slots=SHARE))
        self.store, self.accounts = Repository(engine), Accounts(engine)
        self.engine, self.seconds = engine, 0.0
        self.accepted = 0
        self.messages: list[str] = []

    def jobs(self, which: str = "true") -> list[Any]:
        """As they are now, the oldest first."""
        with self.engine.connect() as connection:
            query = f"select id, caller, slots, state, created_at from jobs where {which} order by created_at"  # noqa: S608 - ours
            return list(connection.execute(text(query)))

    def holding(self) -> list[Any]:
        """Those that hold slots."""
        return self.jobs("state in ('submitting', 'running')")

    def waiting(self) -> list[Any]:
        """Those that were refused, and wait."""
        return self.jobs("queued and state = 'accepted'")

    def arrive(self, caller: str, size: int) -> None:
        """A job is accepted; its message is under way."""
        self.seconds += 0.1
        self.accepted += 1
        self.messages.append(f"job{self.accepted:03}")
        self.store.accept(new(self.messages[-1], caller, held=size), self.now)

    def ask_new(self, caller: str, size: int) -> None:
        """One whose message comes at once."""
        self.arrive(caller, size)
        self.ask(self.messages.pop())

    def end(self, place: int) -> None:
        """One of those that hold slots ends."""
        if holding := self.holding():
            self.messages += ended(self.store, holding[place % len(holding)].id, self.seconds)

    def deliver(self, place: int) -> None:
        """A message comes."""
        if self.messages:
            self.ask(self.messages.pop(place % len(self.messages)))

    def lose(self, place: int) -> None:
        """A message never comes."""
        if self.messages:
            self.messages.pop(place % len(self.messages))

    def ask(self, name: str) -> None:
        """A job asks for its slots; nobody who holds less loses his by that."""
        job, before, waiting = the(self.store, name), self.held(), self.waiting()
        if job.state is not State.ACCEPTED or not begin(self.store, self.accounts, name, MOST, self.seconds):
            return
        held = self.held()
        assert sum(held.values()) <= MOST or [job.id] == [one.id for one in self.holding()]
        heads = {one.caller: one for one in reversed(waiting) if one.id != name}
        for caller, head in heads.items():
            less = part(caller, before) < part(job.caller, before)
            if less and not capped(caller, head, before) and caller != job.caller:
                assert fits(head, held), (name, head)

    def sweep(self) -> None:
        """Everything that is due or under way is done."""
        self.seconds += 1
        while True:
            self.accounts.wake_all(self.now, lambda _: MOST)
            due = [due.job_id for due in self.store.claim_due(self.now, lease=LEASE, limit=99)]
            if not (due or self.messages):
                return
            for name in [*self.messages, *due]:
                self.ask(name)
            self.messages.clear()

    def held(self) -> Counter[str]:
        """Slots by caller."""
        held: Counter[str] = Counter()
        for job in self.holding():
            held[job.caller] += job.slots
        return held

    @property
    def now(self) -> datetime:
        """The time."""
        return MORNING + timedelta(seconds=self.seconds)


def part(caller: str, held: Counter[str]) -> float:
    """Of what a caller may hold, what he does."""
    return held[caller] / (SHARE if caller == "small" else MOST)


def capped(caller: str, job: Any, held: Counter[str]) -> bool:
    """Whether a caller's own share is in the way."""
    return caller == "small" and held[caller] > 0 and held[caller] + job.slots > SHARE


def fits(job: Any, held: Counter[str]) -> bool:
    """Whether there are slots enough."""
    return not held.total() or held.total() + job.slots <= MOST


_PLACE, _CALLERS = st.integers(0, 9), st.sampled_from(["small", "a", "b"])
_SIZES = st.sampled_from([1, 2, 3, MOST + 1])
_STEPS = st.one_of(
    st.tuples(st.just("ask_new"), _CALLERS, _SIZES),
    st.tuples(st.just("ask_new"), _CALLERS, st.just(1)),
    st.tuples(st.just("arrive"), _CALLERS, _SIZES),
    st.tuples(st.just("deliver"), _PLACE),
    st.tuples(st.just("lose"), _PLACE),
    st.tuples(st.just("end"), _PLACE),
    st.tuples(st.just("end"), _PLACE),
    st.tuples(st.just("sweep")),
)


@given(steps=st.lists(_STEPS, min_size=12, max_size=20))
@settings(max_examples=10)
def test_whatever_the_order_of_arrivals_and_ends(engine: Engine, steps: list[tuple[object, ...]]) -> None:
    """No slot goes to a caller who holds more while one who holds less waits for it; never more than there are; once
    all is asked, none is free that the next one could use; and whoever waits goes, however many come after him.
    """
    crowd = Crowd(engine)
    for name, *values in steps:
        getattr(crowd, str(name))(*values)
    crowd.sweep()
    held, heads = crowd.held(), {job.caller: job for job in reversed(crowd.waiting())}
    line = [job for caller, job in heads.items() if not capped(caller, job, held)]
    first = min(line, key=lambda job: (part(job.caller, held), job.created_at), default=None)
    assert first is None or not fits(first, held)

    left = {job.id for job in crowd.waiting()}
    for _ in range(200):
        left &= {job.id for job in crowd.jobs("state = 'accepted'")}
        if not left:
            return
        crowd.arrive("greedy", 1)
        crowd.end(0)
        crowd.deliver(0)
        crowd.sweep()
    raise AssertionError(left)
