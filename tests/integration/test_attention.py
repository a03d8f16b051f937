"""Jobs that want a person: found by looking, told once, to whoever subscribed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from sqlalchemy import Engine, select, text

from infra.http import NotSent
from infra.settings import Settings
from tests.fakes import MORNING, FakeClock, FakeQueue
from tests.integration.submit_kit import Desk, Said, said
from worker.jobs.machine import Event
from worker.jobs.model import Job, State
from worker.jobs.retry import DEFERRALS_UNTIL_TOLD
from worker.jobs.signing import Signing
from worker.store.accounts import Accounts
from worker.store.attention import Attention
from worker.store.repository import NewJob, Repository
from worker.store.retention import Retention
from worker.store.runs import Runs
from worker.store.subscriptions import Subscriptions
from worker.store.tables import deliveries, events
from worker.tasks.attend import attend
from worker.tasks.expire import EVERY, expire

doctor = import_module("webhook.doctor")  # its command has the same name


@pytest.fixture
def store(engine: Engine) -> Repository:
    """Rows, and a subscription to attention alone."""
    Subscriptions(engine, b"secret").create("default", "https://app/hook", ["job.*"], Signing.V1, MORNING)
    return Repository(engine)


def job(
    store: Repository, name: str, *path: Event, caller: str = "default", at: datetime = MORNING, **changes: Any
) -> Job:
    """A job to which all of `path` happened."""
    new = NewJob(name, caller, "default", "videos/omni-video", None, None, b"f", b"{}")
    made = store.accept(new, at)[0]
    for event in path:
        moved = store.move(made, event, at, changes=changes)
        assert moved is not None
        made = moved.job
    return made


def told(engine: Engine) -> list[tuple[str, str]]:
    """Job and reason of everything that leaves."""
    query = select(deliveries.c.job_id, events.c.data).join(events, events.c.id == deliveries.c.event_id)
    with engine.connect() as connection:
        return sorted((row.job_id, row.data["reason"]) for row in connection.execute(query))


def look(engine: Engine, clock: FakeClock, times: int = 2) -> FakeQueue:
    """Look for jobs that want a person, more than once."""
    queue = FakeQueue()
    for _ in range(times):
        attend(attention=Attention(engine), queue=queue, clock=clock, accounts=["default"])
    return queue


def test_a_task_that_takes_far_too_long_is_told_once(engine: Engine, store: Repository) -> None:
    """Three times what was expected, and ten minutes; what is merely late is not an alarm."""
    times: Any = {"submitted_at": MORNING, "expected_at": MORNING + timedelta(minutes=5)}
    job(store, "slow", Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN, **times)
    clock = FakeClock(MORNING + timedelta(minutes=14))
    look(engine, clock)
    assert [] == told(engine)
    clock.advance(120)
    queue = look(engine, clock)

    assert [("slow", "slow")] == told(engine)
    assert 1 == len(queue.sent)


def test_a_stopped_account_is_told_to_each_caller_who_waits(engine: Engine, store: Repository) -> None:
    """One job of each caller, once for each stop; who waits for nothing hears nothing."""
    Subscriptions(engine, b"secret").create("other", "https://other/hook", ["*"], Signing.V1, MORNING)
    accounts, clock = Accounts(engine), FakeClock(MORNING + timedelta(minutes=1))
    first = job(store, "a")
    job(store, "b", at=MORNING + timedelta(microseconds=1))
    job(store, "c", caller="third")
    with engine.begin() as connection:
        accounts.admit(connection, first, "default", 1, MORNING)
    accounts.stop(first, "the balance is used up", MORNING)
    look(engine, clock)
    assert [("a", "account_stopped")] == told(engine)

    accounts.resume("default", clock())
    clock.advance(60)
    accounts.stop(first, "again", clock())
    clock.advance(60)
    look(engine, clock)
    assert [("a", "account_stopped")] * 2 == told(engine)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (said(1003, 401, message="token is not yet valid"), "token is not yet valid (HTTP 401, code 1003)"),
        (NotSent("no connection to kling.example (gaierror)"), "no connection to kling.example (gaierror)"),
    ],
)
def test_a_job_that_reaches_nobody_is_told_once(engine: Engine, store: Repository, says: Said, why: str) -> None:
    """A clock that is wrong, a host that is gone: after a while a person hears of it with the reason, once."""
    desk = Desk(engine)
    desk.wire.says = lambda _method: says
    while desk.job.deferrals < DEFERRALS_UNTIL_TOLD:
        look(engine, desk.clock)
        assert [] == told(engine)
        desk.clock.at = max(desk.clock.at, desk.job.due_at or desk.clock.at)
        assert State.ACCEPTED is desk.work()
    look(engine, desk.clock)
    desk.clock.advance(3600)
    desk.work()
    look(engine, desk.clock)

    assert [("job", "not_submitted")] == told(engine)
    (entry,) = (event for event in store.timeline("job") if event["type"] == "job.attention")
    assert f"it was put off {DEFERRALS_UNTIL_TOLD} times, at last because of: {why}" == entry["data"]["message"]


@pytest.mark.parametrize(("wait", "heard"), [(3600, 1), (700, 1), (60, 0)])
def test_a_job_that_kling_puts_off_for_long_is_told_at_once(
    engine: Engine, store: Repository, wait: int, heard: int
) -> None:
    """Else a person would hear of it after fifteen such waits, as many hours. What is soon tried again calls nobody."""
    desk = Desk(engine)
    desk.wire.says = lambda _: replace(said(1302, 429, message="busy"), headers={"Retry-After": str(wait)})
    desk.work()
    look(engine, desk.clock)
    desk.clock.advance(wait * 1.3)
    desk.work()
    look(engine, desk.clock)

    assert [("job", "not_submitted")] * heard == told(engine)
    messages = [entry["data"]["message"] for entry in store.timeline("job") if entry["type"] == "job.attention"]
    assert ["it was put off once, at last because of: busy (HTTP 429, code 1302)"] * heard == messages


def test_one_job_speaks_for_others_until_kling_takes_it(engine: Engine, store: Repository) -> None:
    """Those that are put off for longer than it are no more to hear of, also once it is tried again soon."""
    clock = FakeClock(MORNING)
    for late, (name, wait) in enumerate((("a", 700), ("b", 3000))):
        since = MORNING + timedelta(microseconds=late)
        made = job(store, name, Event.SUBMIT_BEGUN, Event.SUBMIT_DEFERRED, at=since, deferrals=1)
        store.postpone(made, MORNING + timedelta(seconds=wait))
    for _ in range(3):
        look(engine, clock)
        clock.advance(300)

    assert [("a", "not_submitted")] == told(engine)


def test_one_job_speaks_for_all_that_reach_nobody(engine: Engine, store: Repository) -> None:
    """An outage is one thing to hear of, however many jobs wait: of each caller the oldest; the next when that left."""
    Subscriptions(engine, b"secret").create("other", "https://other/hook", ["job.*"], Signing.V1, MORNING)
    clock = FakeClock(MORNING)
    for late, (name, caller) in enumerate((("a", "default"), ("b", "default"), ("c", "other"))):
        path, since = (Event.SUBMIT_BEGUN, Event.SUBMIT_DEFERRED), MORNING + timedelta(microseconds=late)
        job(store, name, *path, caller=caller, at=since, deferrals=DEFERRALS_UNTIL_TOLD)
    look(engine, clock, 3)
    assert [("a", "not_submitted"), ("c", "not_submitted")] == told(engine)
    first = store.get("a")
    assert first
    store.move(first, Event.CANCEL_ASKED, MORNING)
    look(engine, clock, 3)

    assert ["a", "b", "c"] == [name for name, _ in told(engine)]


def test_an_unknown_end_is_told_as_both(engine: Engine, store: Repository) -> None:
    """Whoever only hears of what wants a person hears of a job that nobody can settle."""
    job(store, "lost", Event.SUBMIT_BEGUN, Event.SUBMIT_UNSETTLED)

    assert [("lost", "unknown")] == told(engine)
    assert ["job.accepted", "job.submitting", "job.unknown", "job.attention"] == [
        event["type"] for event in store.timeline("lost")
    ]


def test_a_result_at_risk_is_told_once(engine: Engine, store: Repository) -> None:
    """27 days after its submission a result that is not safe calls for a person, however often that is looked at."""
    job(store, "risky", Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN, Event.TASK_SUCCEEDED, submitted_at=MORNING)
    clock = FakeClock(MORNING + timedelta(days=28))
    for _ in range(2):
        rows = {"runs": Runs(engine), "retention": Retention(engine), "attention": Attention(engine)}
        clock.advance(EVERY.total_seconds())
        expire(**rows, queue=FakeQueue(), days=30, clock=clock)  # type: ignore[arg-type]  # ** of mixed values

    assert [("risky", "result_at_risk")] == told(engine)


def test_an_account_that_is_gone_from_the_settings_is_told(
    engine: Engine, store: Repository, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs wait: one of each caller is told of, the doctor names it, and when it is back they go on."""
    desk = Desk(engine)
    accounts = desk.provider.accounts
    desk.provider = replace(desk.provider, accounts={"other": accounts["default"]})
    assert State.ACCEPTED is desk.work()
    for _ in range(2):
        attend(attention=Attention(engine), queue=FakeQueue(), clock=desk.clock, accounts=desk.provider.accounts)
    assert [("job", "account_missing")] == told(engine)
    monkeypatch.setattr(doctor, "accounts", lambda _: desk.provider.accounts)
    assert 1 == doctor._accounts(settings)
    desk.provider = replace(desk.provider, accounts=accounts)
    assert ["job"] == desk.accounts.wake_all(desk.clock(), desk.provider.concurrency)

    assert State.RUNNING is desk.until(State.RUNNING)
    assert desk.seconds < 1800
    monkeypatch.undo()
    assert 0 == doctor._accounts(settings)


def test_what_cannot_be_looked_for_keeps_nobody_from_hearing(engine: Engine, store: Repository) -> None:
    """One question that the database does not answer is logged; the others are asked, and told of."""
    job(store, "copying", Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN, Event.TASK_SUCCEEDED, archive_attempts=9)
    job(store, "lost")
    with engine.begin() as holder:
        holder.execute(text("update jobs set account = 'gone' where id = 'lost'"))
        holder.execute(text("alter table accounts rename to away"))
    try:
        look(engine, FakeClock())
    finally:
        with engine.begin() as holder:
            holder.execute(text("alter table away rename to accounts"))

    assert [("copying", "not_copied"), ("lost", "account_missing")] == told(engine)
