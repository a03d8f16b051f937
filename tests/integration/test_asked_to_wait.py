"""Kling's `Retry-After` is heeded, whoever of its servers says it and to whatever question; within reason."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine

from infra.http import Answer
from tests.fakes import FakeQueue
from tests.integration.submit_kit import Desk, task
from worker.jobs.model import State
from worker.jobs.retry import JITTER, LONGEST_RETRY_AFTER
from worker.store.accounts import Accounts
from worker.store.attention import Attention
from worker.tasks.attend import attend

WAIT = 2000


def busy(code: int, status: int, wait: str = str(WAIT), **more: str) -> Answer:
    """Kling says so; without a code, something that stands before it."""
    body = json.dumps({"code": code, "message": "busy"}).encode() if code else b"<html>busy</html>"
    return Answer(status, {"retry-after": wait, **more}, body)


def waits(desk: Desk) -> float:
    """Seconds until the job is due."""
    assert desk.job.due_at is not None
    return (desk.job.due_at - desk.clock()).total_seconds()


BUSY = [busy(1302, 429), busy(1303, 429), busy(5001, 503), busy(1101, 429), busy(0, 429), busy(0, 503)]


@pytest.mark.parametrize("answer", BUSY)
@pytest.mark.parametrize("state", [State.ACCEPTED, State.RUNNING, State.COPYING])
def test_kling_is_left_alone_for_as_long_as_it_asks(engine: Engine, answer: Answer, state: State) -> None:
    """Asked to create, for a task, or for fresh links."""
    desk = Desk(engine)
    if state is State.RUNNING:
        desk.until(state)
        desk.clock.at = desk.job.due_at or desk.clock()
    elif state is State.COPYING:
        desk.copying()
    desk.wire.says = lambda _: answer
    desk.work()

    assert WAIT <= waits(desk) <= WAIT * (1 + JITTER)


def test_a_look_before_another_create_is_put_off_too(engine: Engine) -> None:
    """It asks the same servers."""
    desk = Desk(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("update jobs set submissions = 1")
    desk.wire.says = lambda _: busy(5001, 503)
    desk.work()

    assert ["GET"] == [method for method, _ in desk.wire.calls]
    assert WAIT <= waits(desk) <= WAIT * (1 + JITTER)


@pytest.mark.parametrize("wait", ["3600", "1000", "5"])
def test_who_always_asks_to_wait_is_waited_for_no_longer(engine: Engine, wait: str) -> None:
    """P1: a job of which each create was proven absent ends after 72 hours, however rarely Kling may be asked."""
    desk = Desk(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("update jobs set submissions = 1")
    desk.wire.says = lambda _: busy(5001, 503, wait)

    assert (State.FAILED, "not_made") == (desk.until(), desk.job.error_code)
    assert 72 * 3600 < desk.seconds < 76 * 3600


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        ("999999", LONGEST_RETRY_AFTER),
        ("Sat, 21 Nov 2026 10:00:40 GMT", 640),
        ("Sat, 21 Nov 2020 10:00:40 GMT", 0),
        ("soon", 0),
        ("-5", 0),
        ("nan", 0),
    ],
)
def test_what_it_asks_for_is_understood_and_bounded(engine: Engine, wait: str, seconds: float) -> None:
    """An hour at most; a date by the clock of who says it. Nonsense changes nothing."""
    desk = Desk(engine)
    desk.wire.says = lambda _: busy(1302, 429, wait, Date="Sat, 21 Nov 2026 09:50:00 GMT")
    desk.work()

    assert max(seconds, 1) <= waits(desk) <= max(seconds * (1 + JITTER), 3)


@pytest.mark.parametrize(("wait", "heard"), [("3600", 1), ("600", 0)])
def test_files_that_wait_for_long_are_told_of_at_once(engine: Engine, wait: str, heard: int) -> None:
    """Else a person would hear of it after seven such waits, as many hours."""
    desk = Desk(engine)
    desk.copying()
    desk.wire.says = lambda _: busy(5001, 503, wait)
    desk.work()
    attend(attention=Attention(engine), queue=FakeQueue(), clock=desk.clock, accounts=["default"])

    said = [one["data"] for one in desk.store.timeline("job") if one["type"] == "job.attention"]
    assert [("not_copied", "its files could not be copied 2 times")] * heard == [
        (one["reason"], one["message"]) for one in said
    ]


def test_a_job_that_has_waited_goes_on(engine: Engine) -> None:
    """P1, P4: once, and with one create."""
    desk = Desk(engine)
    desk.wire.says = lambda _: busy(1302, 429) if desk.seconds < WAIT else task()

    assert State.RUNNING is desk.until(State.RUNNING)
    assert 2 == len(desk.wire.creates)


def test_an_account_that_goes_on_waits_for_no_hour_to_be_over(engine: Engine) -> None:
    """P1: it had no money and Kling asked to be left alone for long. Whoever has paid says so, and it is tried."""
    desk = Desk(engine)
    desk.wire.says = lambda _: busy(1101, 429, "3600")
    desk.work()
    desk.wire.says = lambda _: task()
    assert waits(desk) >= LONGEST_RETRY_AFTER
    Accounts(engine).resume("default", desk.clock())

    assert 0 == waits(desk)
    assert State.RUNNING is desk.work()
