"""P4: Kling is asked once, and what it made is adopted, whatever it, or whoever stands before it, answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Engine, text, update

from infra.http import Answer, NoAnswer
from tests.fakes import MORNING
from tests.integration.submit_kit import MISSING, PAGE, Desk, Said, said, task
from worker.jobs import retry
from worker.jobs.machine import Step
from worker.jobs.model import Job, State
from worker.pipelines import Pipelines
from worker.store.moment import DatabaseClock
from worker.store.repository import NewJob, Repository
from worker.store.tables import jobs

TAKEN = said(1201, 400, message="external_task_id 'job' already exists")


@pytest.mark.parametrize("refusal", [TAKEN, said(1200, 400, message="no"), said(1301, 400, message="unsafe")])
def test_a_refusal_of_what_kling_has_is_no_refusal(engine: Engine, refusal: Said) -> None:
    """Something on the way sent the create twice, and we hear how the second one was refused: the task is adopted."""
    desk = Desk(engine)
    desk.wire.says = lambda method: refusal if method == "POST" else task()

    assert State.RUNNING is desk.until(State.RUNNING)
    assert ([0.0], "k1") == (desk.wire.creates, desk.job.provider_task_id)
    assert (None, None) == (desk.job.error_code, desk.job.error_message)


@pytest.mark.parametrize("refusal", [TAKEN, said(1201, 400, message="prompt is too long")])
def test_a_repetition_is_adopted_once_kling_shows_the_task(engine: Engine, refusal: Said) -> None:
    """Kling shows a task only after minutes, so another create left: its refusal, in whatever words, leads to the first
    one's task.
    """
    desk = Desk(engine)
    answers: list[Said] = [NoAnswer("gone"), refusal]

    def says(method: str) -> Said:
        if method == "POST":
            return answers.pop(0)
        return MISSING if answers or desk.seconds < desk.wire.creates[-1] + 60 else task()

    desk.wire.says = says

    assert State.RUNNING is desk.until(State.RUNNING)
    assert 2 == len(desk.wire.creates)


def test_a_refusal_stands_once_kling_has_no_such_task(engine: Engine) -> None:
    """What Kling refuses and does not have has failed: at once, or after as much proof as a repetition wants."""
    desk = Desk(engine)
    desk.wire.says = lambda method: said(1201, 400, message="prompt is too long") if method == "POST" else MISSING
    assert (State.FAILED, 0) == (desk.work(), desk.seconds)
    assert ("1201", "prompt is too long") == (desk.job.error_code, desk.job.error_message)


def test_a_repetition_that_kling_does_not_show_has_failed(engine: Engine) -> None:
    """Once it is as surely absent as after an unknown outcome, what Kling said stands."""
    desk = Desk(engine)
    desk.wire.says = lambda method: TAKEN if method == "POST" else MISSING

    assert State.FAILED is desk.until()
    assert desk.provider.absent_after.total_seconds() <= desk.seconds < 600
    assert ([0.0], "1201") == (desk.wire.creates, desk.job.error_code)


def test_a_gateway_s_refusal_is_believed_without_kling_s_code(engine: Engine) -> None:
    """A gateway that refuses a request and, in its own words, to show its task: failed, not asked for days."""
    desk = Desk(engine)
    no = Answer(400, {}, b'{"code":"task_not_exist","message":"task_not_exist"}')
    desk.wire.says = lambda method: Answer(400, {}, b'{"error":{"message":"bad"}}') if method == "POST" else no

    assert (State.FAILED, 0) == (desk.until(), desk.seconds)


def test_a_refusal_that_nobody_can_prove_is_looked_into(engine: Engine) -> None:
    """While the look-up is not answered nothing is decided, and nothing is sent again."""
    desk, pages = Desk(engine), [PAGE] * 9

    def says(method: str) -> Said:
        if method == "POST":
            return TAKEN
        return pages.pop() if pages else task()

    desk.wire.says = says

    assert State.RUNNING is desk.until(State.RUNNING)
    assert [0.0] == desk.wire.creates


@pytest.mark.parametrize("status", [403, 404, 409, 413])
def test_a_page_of_somebody_else_proves_nothing(engine: Engine, status: int) -> None:
    """A proxy's page, as the answer to a create that arrived and to every look-up for a day, costs time only."""
    desk = Desk(engine)
    page = Answer(status, {"Content-Type": "text/html"}, b"<html>the edge says no</html>")
    desk.wire.says = lambda _method: page if desk.seconds < 86400 else task()

    assert State.RUNNING is desk.until(State.RUNNING)
    assert [0.0] == desk.wire.creates


def lost_to_sight(desk: Desk) -> Callable[[str], Said]:
    """Creates arrive, their answers don't, and Kling shows the task a minute after it was made."""

    def says(method: str) -> Said:
        if method == "POST":
            return NoAnswer("gone")
        return task() if desk.wire.creates and desk.seconds > desk.wire.creates[0] + 60 else MISSING

    return says


@pytest.mark.parametrize("code", [1103, 1201, 1301])
def test_a_refusal_to_look_is_not_absence(engine: Engine, code: int) -> None:
    """Of a create that was not answered only Kling's own 1203 says that it made no task: whatever else it says of the
    look-up, for an hour, lets no second one leave, and gives its slot to nobody.
    """
    desk = Desk(engine)

    def says(method: str) -> Said:
        if method == "POST":
            return NoAnswer("gone")
        return said(code, 400, message="not this account") if desk.seconds < 3600 else task()

    desk.wire.says = says

    assert State.RUNNING is desk.until(State.RUNNING)
    assert [0.0] == desk.wire.creates
    assert ["accepted", "submitting", "running"] == [
        event["type"].removeprefix("job.") for event in desk.store.timeline("job")
    ]


@pytest.mark.parametrize("code", [1103, 1201, 1301])
def test_a_refusal_to_look_once_more_lets_nothing_leave(engine: Engine, code: int) -> None:
    """A create was proven absent, and the last look before the next one is refused: that is no absence either."""
    desk = Desk(engine)
    desk.wire.says = lambda method: NoAnswer("gone") if method == "POST" else MISSING
    desk.work()
    assert State.ACCEPTED is desk.until(State.ACCEPTED)
    began = desk.seconds
    refused = said(code, 400, message="not this account")
    desk.wire.says = lambda _method: refused if desk.seconds < began + 60 else task()

    assert State.RUNNING is desk.until(State.RUNNING)
    assert [0.0] == desk.wire.creates


@pytest.mark.parametrize("shown", range(1, retry.ABSENT_LOOKUPS + 2))
def test_a_task_that_shows_itself_at_any_look_is_the_only_one(engine: Engine, shown: int) -> None:
    """At the first look-up, at the last one that proves absence, or at the one before the next create leaves."""
    desk, looks = Desk(engine), count(1)

    def says(method: str) -> Said:
        if method == "POST":
            return NoAnswer("gone")
        return task() if next(looks) >= shown else MISSING

    desk.wire.says = says

    assert State.RUNNING is desk.until(State.RUNNING)
    assert [0.0] == desk.wire.creates


def test_only_the_account_that_was_asked_is_asked_again(engine: Engine) -> None:
    """A create may have left to the first account, which stops then: the second, which knows nothing, is not asked."""
    desk = Desk(engine)
    accounts = desk.provider.accounts
    desk.provider = replace(desk.provider, accounts={**accounts, "spare": accounts["default"]})
    with engine.begin() as connection:
        connection.execute(update(jobs).values(fallbacks="spare"))
    desk.wire.says = lambda method: NoAnswer("gone") if method == "POST" else MISSING
    desk.work()
    assert State.ACCEPTED is desk.until(State.ACCEPTED)
    desk.accounts.stop(desk.job, "in arrears", desk.clock())
    desk.wire.says = lambda method: task() if method == "POST" else MISSING

    assert (State.ACCEPTED, "default") == (desk.work(), desk.job.account)
    assert [0.0] == desk.wire.creates


@pytest.mark.parametrize("skew", [-300, 300])
def test_a_worker_whose_clock_is_wrong_proves_no_absence(engine: Engine, skew: float) -> None:
    """Two workers' clocks differ by five minutes; the database's decides, so the second create never leaves."""
    desk = Desk(engine)
    desk.wire.says = lost_to_sight(desk)
    desk.agree()
    desk.work()
    other = desk.beside(skew)

    assert State.RUNNING is other.until(State.RUNNING)
    assert [0.0] == desk.wire.creates


def test_a_worker_that_was_held_up_does_not_send(engine: Engine) -> None:
    """Stopped between its row and the create for as long as others need to prove absence: it is put off, not sent."""
    desk = Desk(engine)
    bound = desk.pipelines.bound

    def held_up(job: Job, body: Mapping[str, Any]) -> dict[str, Any]:
        desk.clock.advance(retry.FRESH_SECONDS)
        return bound(job, body)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Pipelines, "bound", lambda _self, job, body: held_up(job, body))
        assert State.ACCEPTED is desk.work()
    assert ([], 0) == (desk.wire.creates, desk.job.submissions)
    assert State.RUNNING is desk.until(State.RUNNING)
    assert 1 == len(desk.wire.creates)


def test_the_time_is_the_database_s(engine: Engine) -> None:
    """Whatever a host's clock says, once a step was begun its worker goes by the database's, and by how long ago."""
    passed = [0.0]
    clock = DatabaseClock(lambda: MORNING, lambda: passed[0])
    assert MORNING == clock()
    store = Repository(engine, clock.hear)
    store.accept(NewJob("one", "default", "default", "videos/omni-video", None, None, b"f", b"{}"), MORNING)
    with engine.connect() as connection:
        before = connection.execute(text("select clock_timestamp()")).scalar_one()
        assert store.begin("one", Step.SUBMIT, clock())
        after = connection.execute(text("select clock_timestamp()")).scalar_one()

    assert before <= clock() <= after
    passed[0] += 60
    assert before + timedelta(minutes=1) <= clock() <= after + timedelta(minutes=1)


SOMEBODY_S = {"task_id": "k2", "task_status": "succeed", "task_info": {"external_task_id": "else"}}


@pytest.mark.parametrize("shown", [SOMEBODY_S, [SOMEBODY_S], [{"task_id": "k2", "task_status": "succeed"}]])
def test_somebody_else_s_task_is_not_adopted(engine: Engine, shown: Any) -> None:
    """A look-up by our id that is answered with another task, or a list of whatever, settles nothing; ours is found."""
    desk = Desk(engine)
    own = {"task_id": "k1", "task_status": "submitted", "task_info": {"external_task_id": "job"}}
    answers = [said(data=shown)] * 3

    def says(method: str) -> Said:
        if method == "POST":
            return NoAnswer("gone")
        return answers.pop() if answers else said(data=[own])

    desk.wire.says = says

    assert State.RUNNING is desk.until(State.RUNNING)
    assert ("k1", [0.0]) == (desk.job.provider_task_id, desk.wire.creates)


@pytest.mark.parametrize("status", [401, 402, 425, 429])
def test_a_page_that_turns_a_create_away_is_looked_behind(engine: Engine, status: int) -> None:
    """Whatever stands between may have turned Kling's answer away, not our request: a task that shows itself as late as
    any is found, and no second one made.
    """
    desk = Desk(engine)
    page = Answer(status, {"Content-Type": "text/html"}, b"<html>slow down</html>")
    desk.wire.says = lambda method: page if method == "POST" else task() if desk.seconds > 100 else MISSING

    assert State.RUNNING is desk.until(State.RUNNING)
    assert [0.0] == desk.wire.creates


@pytest.mark.parametrize("after", [3, 50])
def test_a_clock_that_steps_proves_no_absence(engine: Engine, after: float) -> None:
    """The database's own clock jumps five minutes, early or late among the look-ups: 70 real seconds stay too few."""
    desk = Desk(engine)
    real, made = [0.0], []

    def says(method: str) -> Said:
        if method == "POST":
            made.append(real[0])
            return NoAnswer("gone")
        return task() if real[0] > made[0] + 70 else MISSING

    desk.wire.says = says
    stepped = False
    while desk.job.state is not State.RUNNING:
        due = desk.job.due_at or desk.clock.at
        real[0] += max((due - desk.clock.at).total_seconds(), 0)
        desk.clock.at = max(desk.clock.at, due)
        desk.work()
        if not stepped and real[0] >= after:
            desk.clock.advance(300)
            stepped = True

    assert ([0.0], True) == (made, stepped)
