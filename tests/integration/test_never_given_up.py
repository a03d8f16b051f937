"""P1: what was paid for is given up only on Kling's own repeated word, or once Kling has deleted it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from infra.http import Answer, NoAnswer
from tests.fakes import FakeQueue
from tests.integration.submit_kit import MISSING, PAGE, Desk, Said, said, task
from worker.jobs import retry
from worker.jobs.model import State
from worker.store.attention import Attention
from worker.store.retention import Retention
from worker.store.runs import Runs
from worker.store.tables import jobs, payloads
from worker.tasks.attend import attend
from worker.tasks.expire import expire

DAY = 86400.0
HOUR = 3600.0
TROUBLE = said(5000, 500, message="oops")
ARREARS = said(1101, 429, message="in arrears")
SILENCE: list[Said] = [TROUBLE, ARREARS, PAGE, NoAnswer("gone")]


def reasons(desk: Desk) -> list[str]:
    """Why a person was called."""
    return [event["data"]["reason"] for event in desk.store.timeline("job") if event["type"] == "job.attention"]


def look(desk: Desk) -> None:
    """What beat has done every minute and every hour."""
    attention, queue = Attention(desk.engine), FakeQueue()
    attend(attention=attention, queue=queue, clock=desk.clock, accounts=["default"])
    rows: Any = {"runs": Runs(desk.engine), "retention": Retention(desk.engine), "attention": attention}
    expire(**rows, queue=queue, days=30, clock=desk.clock)


@pytest.mark.parametrize("silence", SILENCE)
def test_a_running_task_is_asked_for_until_kling_deletes_it(engine: Engine, silence: Said) -> None:
    """Nobody could ask for three weeks: the first answer counts, and it may be that the film is there."""
    desk = Desk(engine)
    desk.until(State.RUNNING)
    desk.wire.says = lambda _: silence if desk.seconds < 21 * DAY else task("succeed")
    desk.clock.advance(20.95 * DAY)

    assert State.COPYING is desk.until(State.COPYING)


def test_a_task_that_nobody_could_ask_for_is_lost_in_the_end(engine: Engine) -> None:
    """At 27 days a person is called, at 30 it ends; questions are never more than 15 min apart."""
    desk = Desk(engine)
    desk.until(State.RUNNING)
    desk.wire.says = lambda _: TROUBLE
    desk.clock.advance(26.9 * DAY)
    desk.work()
    look(desk)
    assert "result_at_risk" not in reasons(desk)
    desk.clock.advance(0.2 * DAY)
    look(desk)
    assert "result_at_risk" in reasons(desk)
    desk.clock.advance(2.8 * DAY)
    assert State.EXPIRED is desk.until(days=31)
    assert 30 * DAY <= desk.seconds < 30 * DAY + 2 * retry.UNANSWERED_LONGEST


def test_a_task_that_kling_works_on_for_three_days_is_lost(engine: Engine) -> None:
    """Kling itself says for 72 hours that it is processing: that is its own word, and the job ends."""
    desk = Desk(engine)
    desk.until(State.RUNNING)
    desk.wire.says = lambda _: task("processing")
    desk.clock.advance(71 * HOUR)
    assert State.RUNNING is desk.work()
    desk.clock.advance(1 * HOUR + 1)

    assert State.EXPIRED is desk.work()


def test_a_word_that_nobody_knows_is_no_end(engine: Engine) -> None:
    """Kling says for four days what no edition knows: its film lies there for 30, so the job is not given up."""
    desk = Desk(engine)
    desk.until(State.RUNNING)
    desk.wire.says = lambda _: task("ripening" if desk.seconds < 4 * DAY else "succeed")
    desk.clock.advance(95 * HOUR)
    assert State.RUNNING is desk.work()

    assert State.COPYING is desk.until(State.COPYING)


@pytest.mark.parametrize("copies", [False, True])
def test_a_task_is_gone_only_after_hours_of_saying_so(engine: Engine, *, copies: bool) -> None:
    """Kling says 1203 for two hours, however often it is asked, and then knows the task: nothing was lost."""
    desk = Desk(engine)
    desk.copying() if copies else desk.until(State.RUNNING)
    desk.wire.says = lambda _: MISSING
    for _ in range(40):  # forged callbacks make it due
        desk.work()
        desk.clock.advance(180)
    assert desk.job.state in {State.RUNNING, State.COPYING}

    desk.wire.says = lambda _: task()
    desk.work()
    assert 0 == desk.job.lookups
    desk.wire.says = lambda _: MISSING
    began = desk.seconds
    assert State.EXPIRED is desk.until()
    assert retry.LOST_HOURS * HOUR <= desk.seconds - began < 48 * HOUR
    assert 2 == sum(event["type"] == "job.missing" for event in desk.store.timeline("job"))


@pytest.mark.parametrize("silence", SILENCE[2:])
def test_files_are_asked_for_until_kling_deletes_them(engine: Engine, silence: Said) -> None:
    """No link can be had for weeks: it is tried every few hours, a person is told within the day and before the end."""
    desk = Desk(engine)
    desk.copying()
    desk.wire.says = lambda _: silence
    while desk.seconds < DAY:
        desk.clock.at = max(desk.clock.at, desk.job.due_at or desk.clock.at)
        assert State.COPYING is desk.work()
    look(desk)
    look(desk)
    assert ["not_copied"] == reasons(desk)
    asked = len(desk.wire.calls)
    assert State.EXPIRED is desk.until()
    assert timedelta(days=30) <= timedelta(seconds=desk.seconds) < timedelta(days=31)
    assert 29 * 3 <= len(desk.wire.calls) - asked < 29 * 6


def test_an_outage_that_proves_absence_ends_no_job(engine: Engine) -> None:
    """Creates fail for an hour while look-ups work: nothing was made, a person hears of it, and then it is made."""
    desk = Desk(engine)
    desk.wire.says = lambda method: Answer(504, {}, b"gateway timeout") if method == "POST" else MISSING
    while desk.seconds < HOUR:
        desk.clock.at = max(desk.clock.at, desk.job.due_at or desk.clock.at)
        assert desk.work() in {State.ACCEPTED, State.SUBMITTING}
    look(desk)
    look(desk)
    assert ["not_submitted"] == reasons(desk)
    assert 5 <= len(desk.wire.creates) <= 7
    desk.wire.says = lambda method: task() if method == "POST" else MISSING

    assert State.RUNNING is desk.until(State.RUNNING)


def test_what_never_became_a_task_fails_after_three_days(engine: Engine) -> None:
    """P1: each create of 72 hours was proven to have made nothing, so the end is a failure and no cost is feared."""
    desk = Desk(engine)
    desk.wire.says = lambda method: TROUBLE if method == "POST" else MISSING
    while desk.until(State.ACCEPTED) is State.ACCEPTED:
        assert desk.seconds < 80 * HOUR
        desk.work()
        desk.clock.advance(7 * HOUR)

    assert (State.FAILED, "not_made") == (desk.job.state, desk.job.error_code)
    assert "billed" not in (desk.job.error_message or "")
    assert 72 * HOUR < desk.seconds


def test_a_look_up_before_the_next_create_is_not_asked_for_ever(engine: Engine) -> None:
    """P1: nobody says whether an earlier create shows itself: ever more rarely asked, told to a person, ended in days.

    As failed: each create that was sent was proven absent, so no cost is feared.
    """
    desk = Desk(engine)
    gone = NoAnswer("gone")
    desk.wire.says = lambda method: gone if method == "POST" else MISSING
    desk.work()
    desk.until(State.ACCEPTED)
    desk.wire.says = lambda _: ARREARS
    while not reasons(desk):
        desk.clock.at = max(desk.clock.at, desk.job.due_at or desk.clock.at)
        desk.work()
        look(desk)
    assert ["not_submitted"] == reasons(desk)
    assert desk.seconds < 1800
    for _ in range(3):
        desk.clock.at = max(desk.clock.at, desk.job.due_at or desk.clock.at)
        desk.work()
    assert desk.job.due_at
    assert 600 < (desk.job.due_at - desk.clock.at).total_seconds() < 1200
    with engine.begin() as connection:
        connection.execute(update(jobs).values(lookups=retry.SILENCES - 1))
    desk.clock.advance(73 * HOUR)

    assert (State.FAILED, 1) == (desk.work(), len(desk.wire.creates))
    assert "not_made" == desk.job.error_code


def test_a_request_that_nobody_can_read_fails_at_once(engine: Engine) -> None:
    """What a damaged row holds can't be sent, and it is said so: there is no doubt about a cost."""
    desk = Desk(engine)
    with engine.begin() as connection:
        connection.execute(update(payloads).values(request=b"not json"))

    assert (State.FAILED, []) == (desk.work(), desk.wire.calls)
    assert ("unreadable", 0) == (desk.job.error_code, desk.job.submissions)
