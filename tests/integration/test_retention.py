"""What expires, and what stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select, text, update
from sqlalchemy.event import listen, remove

from infra import log
from tests.fakes import MORNING, FakeClock, FakeQueue, race
from worker import messages
from worker.jobs.machine import Event
from worker.jobs.model import State
from worker.store import retention as module
from worker.store.aside import Aside
from worker.store.attention import Attention
from worker.store.claims import LEASE, Claims
from worker.store.inbox import Arrival, Inbox
from worker.store.repository import NewJob, Repository
from worker.store.retention import Retention
from worker.store.runs import Runs
from worker.store.tables import callbacks, claims, deliveries, events, jobs, payloads, set_aside
from worker.tasks.expire import EVERY, expire

DAYS = 30


def new(job_id: str) -> NewJob:
    """A job as the door would hand it over."""
    return NewJob(job_id, "default", "default", "videos/omni-video", job_id, "https://app/hook", b"f", b"{}")


def led(store: Repository, job_id: str, *path: Event) -> None:
    """Make a job and let everything in `path` happen to it."""
    job = store.accept(new(job_id), MORNING)[0]
    for event in path:
        changes = {"submitted_at": MORNING} if event is Event.SUBMIT_TAKEN else {}
        moved = store.move(job, event, MORNING, changes=changes)
        assert moved is not None
        job = moved.job


def told(engine: Engine) -> None:
    """Everybody has been told."""
    with engine.begin() as connection:
        connection.execute(update(deliveries).values(state="delivered", due_at=None))


def old_goes(engine: Engine, clock: FakeClock, **limits: float) -> FakeQueue:
    """What the task does when its time has come; what it sent."""
    Runs(engine).again("expire")
    return asked(engine, clock, **limits)


def asked(engine: Engine, clock: FakeClock, **limits: float) -> FakeQueue:
    """What the task does when it is asked for; what it sent."""
    queue = FakeQueue()
    rows = {"runs": Runs(engine), "retention": Retention(engine), "attention": Attention(engine)}
    expire(**rows, queue=queue, days=DAYS, clock=clock, **limits)  # type: ignore[arg-type]  # ** of mixed values
    return queue


RUN = (Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN)


def test_what_ended_long_ago_expires_in_batches_and_its_id_stays(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Payloads, callbacks, deliveries and timelines go; the id still stands for its request; open jobs keep all."""
    monkeypatch.setattr(module, "BATCH", 3)
    store, clock = Repository(engine), FakeClock(MORNING + timedelta(days=DAYS, seconds=1))
    for number in range(8):
        led(store, f"old{number}", *RUN, Event.TASK_FAILED)
    led(store, "open", *RUN)
    Inbox(engine).put([Arrival("old0", b"{}", "understood", None, MORNING)])
    told(engine)
    old_goes(engine, clock)

    with engine.connect() as connection:
        left = [
            set(connection.execute(select(table.c.job_id)).scalars())
            for table in (payloads, callbacks, deliveries, events)
        ]
        assert [{"open"}, set(), set(), {"open"}] == left
        assert 9 == connection.execute(select(func.count()).select_from(jobs)).scalar_one()
    assert not store.accept(new("old0"), clock())[2]


def test_what_is_young_stays(engine: Engine) -> None:
    """A day before its time nothing goes."""
    store, clock = Repository(engine), FakeClock(MORNING + timedelta(days=DAYS - 1))
    led(store, "young", *RUN, Event.TASK_FAILED)
    old_goes(engine, clock)

    assert store.request("young") is not None


def test_what_somebody_is_still_to_be_told_stays(engine: Engine) -> None:
    """P3: retention may be shorter than the schedule of deliveries; what is pending keeps what it is told from."""
    store, clock = Repository(engine), FakeClock(MORNING + timedelta(days=DAYS, seconds=1))
    led(store, "untold", *RUN, Event.TASK_FAILED)
    old_goes(engine, clock)
    assert store.request("untold") is not None
    told(engine)
    old_goes(engine, clock)

    assert store.request("untold") is None


def test_a_callback_that_came_too_late_for_its_job_expires_too(engine: Engine) -> None:
    """One that comes when all else of its job had gone is kept as long, and goes then."""
    store, clock = Repository(engine), FakeClock(MORNING + timedelta(days=DAYS, seconds=1))
    led(store, "old", *RUN, Event.TASK_FAILED)
    told(engine)
    old_goes(engine, clock)
    Inbox(engine).put([Arrival("old", b"{}", "understood", None, clock())])
    old_goes(engine, clock)
    kept = len(Inbox(engine).of("old"))
    clock.advance(DAYS * 86400 + 1)
    old_goes(engine, clock)

    assert (1, 0) == (kept, len(Inbox(engine).of("old")))


_MANY = """
with made as (
    insert into jobs (id, caller, account, family, state, fingerprint, created_at, updated_at)
    select 'young' || lpad(n::text, 9, '0'), 'other', 'default', 'videos/omni-video', 'archived', '', :at, :at
    from generate_series(1, 20000) as n returning id
), held as (
    insert into payloads (job_id, request) select id, '{}' from made
)
insert into callbacks (job_id, sha256, body, verdict, received_at) select id, '', '{}', 'understood', :at from made
"""


def test_what_is_not_old_is_not_read(engine: Engine) -> None:
    """Ids stay for ever, so each batch costs what it holds, however many jobs there are or ever were."""
    store, clock = Repository(engine), FakeClock(MORNING + timedelta(days=DAYS, seconds=1))
    led(store, "old", *RUN, Event.TASK_FAILED)
    told(engine)
    with engine.begin() as connection:
        connection.execute(text(_MANY), {"at": clock()})
        for table in ("jobs", "payloads", "callbacks"):
            connection.execute(text(f"analyze {table}"))
    read: list[int] = []

    def explained(connection: Connection, _cursor: Any, words: str, values: Any, *_: Any) -> None:
        if words.startswith("SELECT"):
            plan = connection.exec_driver_sql(f"explain (analyze, format json) {words}", values).scalar_one()
            read.append(_most(plan[0]["Plan"]))

    listen(engine, "before_cursor_execute", explained)
    try:
        gone, done = Retention(engine).expire(clock() - timedelta(days=DAYS))
    finally:
        remove(engine, "before_cursor_execute", explained)

    assert (True, True) == (gone > 0, done)
    assert max(read) <= module.BATCH


def _most(plan: dict[str, Any]) -> int:
    """The most rows that any part of a plan has looked at."""
    looked = plan["Actual Rows"] + sum(plan.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Join Filter"))
    return max(int(looked), *map(_most, plan.get("Plans", [])), 0)


def test_a_long_expiry_goes_on_in_another_task(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """P7: a task ends within the platform's patience; the next message goes on where it stopped."""
    monkeypatch.setattr(module, "BATCH", 1)
    store, clock = Repository(engine), FakeClock(MORNING + timedelta(days=DAYS, seconds=1))
    for number in range(2):
        led(store, f"old{number}", *RUN, Event.TASK_FAILED)
    told(engine)
    first = old_goes(engine, clock, seconds=-1)
    left = [number for number in range(2) if store.request(f"old{number}")]

    assert ([messages.EXPIRE], [1]) == ([task for task, _, _ in first.sent], left)
    assert [] == old_goes(engine, clock).sent
    assert store.request("old1") is None


def test_it_is_done_once_in_an_hour_however_often_it_is_asked_for(engine: Engine) -> None:
    """Every beat asks as it starts, and again and again; of ten who ask at once one does it."""
    clock, runs = FakeClock(MORNING), Runs(engine)
    assert 1 == race(*(lambda: runs.begin("expire", clock(), EVERY) for _ in range(10))).count(True)
    begun = []
    for _ in range(13):
        clock.advance(600)
        begun.append(runs.begin("expire", clock(), EVERY))

    assert [6, 12] == [turn for turn, done in enumerate(begun, 1) if done]
    clock.advance(-86400 * 30)  # whose row is from the future has a clock that went wrong
    assert runs.begin("expire", clock(), EVERY)


def test_what_was_not_done_to_its_end_is_gone_on_with(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that expires goes in batches, and a task that has no more time leaves the rest to the next one."""
    monkeypatch.setattr(module, "BATCH", 2)
    clock = FakeClock(MORNING + timedelta(days=DAYS, seconds=1))
    aside, held, trial = (
        Aside(engine),
        Claims(engine),
        events.insert().values(sequence=0, type="test", at=MORNING, data={}),
    )
    for number in range(3):
        aside.put("task", b"", "reason", MORNING)
        held.take("default", f"key{number}", b"f", MORNING - LEASE)
        with engine.begin() as connection:
            connection.execute(trial)
    left: dict[str, int] = {}
    turns = 0
    while not left or any(left.values()):
        turns += 1
        sent = asked(engine, clock, seconds=-1).sent
        with engine.connect() as connection:
            left = {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (set_aside, claims, events)
            }
        assert [messages.EXPIRE] == [task for task, _, _ in sent]

    assert 6 == turns  # of three tables, a batch of two and one of one
    assert [] == asked(engine, clock, seconds=60).sent


@pytest.fixture
def logging_as_ever() -> None:
    """What is logged goes the way that it goes in production, whatever ran before."""
    log.configure()


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines of our own loggers."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


@pytest.mark.usefixtures("logging_as_ever")
def test_results_that_will_soon_be_deleted_are_an_alarm(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """27 days after submission a job that is still being copied is named aloud, and due before all others."""
    store, clock = Repository(engine), FakeClock(MORNING + timedelta(days=28))
    led(store, "risky", *RUN, Event.TASK_SUCCEEDED)
    led(store, "other", *RUN, Event.TASK_SUCCEEDED)
    with engine.begin() as connection:
        young = {"submitted_at": clock(), "due_at": clock() - timedelta(hours=1)}
        connection.execute(update(jobs).where(jobs.c.id == "other").values(**young))
    job = store.get("risky")
    assert job is not None
    store.postpone(job, clock() + timedelta(days=1))
    old_goes(engine, clock)

    assert [["risky"]] == [line["jobs"] for line in said(capsys) if line["event"] == "retention.at_risk"]
    assert ["risky"] == [one.job_id for one in store.claim_due(clock(), lease=timedelta(seconds=1), limit=1)]
    assert State.COPYING is job.state


def test_a_job_that_has_ended_is_not_hastened(engine: Engine) -> None:
    """It ended between being found at risk and being hastened: an end wants no attention."""
    store = Repository(engine)
    led(store, "ended", *RUN, Event.TASK_FAILED)
    Retention(engine).hasten(["ended"])
    job = store.get("ended")

    assert job
    assert job.due_at is None


@pytest.mark.usefixtures("logging_as_ever")
def test_a_part_that_is_too_slow_keeps_no_other_waiting(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server ends a statement that takes too long: the rest expires all the same, and the log says which."""
    clock = FakeClock(MORNING + timedelta(days=DAYS, seconds=1))

    def _late(_before: datetime) -> Iterator[int]:
        with engine.begin() as connection:
            connection.execute(text("set local statement_timeout = 1"))
            yield connection.execute(text("select pg_sleep(5)")).rowcount

    monkeypatch.setattr(Retention, "_late", staticmethod(_late))
    Aside(engine).put("task", b"", "reason", MORNING)
    old_goes(engine, clock)

    with engine.connect() as connection:
        assert 0 == connection.execute(select(func.count()).select_from(set_aside)).scalar_one()
    assert ["late"] == [line["part"] for line in said(capsys) if line["event"] == "retention.too_slow"]


def test_what_is_at_risk_is_told_whatever_becomes_of_the_rest(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alarm of the 27th day leaves before anything that may fail is tried."""
    store, clock = Repository(engine), FakeClock(MORNING + timedelta(days=28))
    led(store, "risky", *RUN, Event.TASK_SUCCEEDED)

    def broken(_self: Retention, _before: datetime) -> Iterator[int]:
        raise RuntimeError

    monkeypatch.setattr(Retention, "_ended", broken)
    with pytest.raises(RuntimeError):
        old_goes(engine, clock)

    assert "result_at_risk" in [entry["data"].get("reason") for entry in store.timeline("risky")]
