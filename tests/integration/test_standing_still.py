"""P4 where a process stands still for as long as others need to hold what it does for absent, and then goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from infra.http import NotSent
from tests.fakes import MORNING, FakeClock
from tests.integration.order_kit import LONGEST_UNSEEN, Process, World
from worker import messages
from worker.jobs.machine import Event
from worker.jobs.model import Job, State
from worker.store.moment import DatabaseClock
from worker.store.repository import NewJob, Repository

SUBMIT = (messages.SUBMIT, "submit", ("job",))
FOLLOW_UP = (messages.FOLLOW_UP, "follow_up", ("job",))
#: Beginning a step is a word with the rows, and so is moving or putting off the job; a call to Kling is three words.
BEGUN, READY, SENT, ANSWERED = 1, 2, 3, 3


@pytest.fixture
def world(engine: Engine) -> World:
    """Rows with one job in them."""
    world = World(engine)
    new = NewJob("job", "default", "default", "videos/omni-video", None, None, b"f", b"{}")
    Repository(engine).accept(new, MORNING)
    return world


def job_of(process: Process) -> Job:
    """The job as it is now."""
    job = process.store.get("job")
    assert job is not None
    return job


def until(process: Process, *states: State) -> State:
    """Let `process` do whatever is due, whenever it is, until the job is in one of these states."""
    world = process.world
    for _ in range(100):
        job = job_of(process)
        if job.state in states:
            break
        assert job.due_at is not None
        world.clock.at = max(world.clock.at, job.due_at)
        process.work(SUBMIT if job.state is State.ACCEPTED else FOLLOW_UP)
    return job_of(process).state


@pytest.mark.parametrize("skew", [-300, 0, 300])
@pytest.mark.parametrize("place", [BEGUN, READY])
def test_who_wakes_up_late_asks_for_nothing(world: World, place: int, skew: float) -> None:
    """It stood still before or after the row said that its create may leave; others asked meanwhile: it does not."""
    late, other = Process(world, skew), Process(world, 0)
    late.work(SUBMIT, place)
    assert State.RUNNING is until(other, State.RUNNING)
    late.go_on()

    assert ([], ["job"]) == (world.kling.repeated, list(world.kling.tasks))
    assert State.RUNNING is job_of(other).state


def test_who_wakes_up_late_and_alone_begins_anew(world: World) -> None:
    """Nobody asked meanwhile: its own create is put off as surely not sent, and the next one is the first."""
    late = Process(world, 0)
    late.work(SUBMIT, READY)
    world.clock.advance(3600)
    late.go_on()

    assert (State.ACCEPTED, 0, []) == (job_of(late).state, job_of(late).submissions, list(world.kling.tasks))
    assert State.RUNNING is until(late, State.RUNNING)


@pytest.mark.parametrize("seconds", [1, LONGEST_UNSEEN - 1])
def test_an_old_answer_proves_no_absence(world: World, seconds: float) -> None:
    """Kling did not show the task when it was asked; heard an hour later, that says nothing of the time between."""
    world.kling.unseen = LONGEST_UNSEEN
    first, late, other = (Process(world, 0) for _ in range(3))
    first.work(SUBMIT, SENT)
    first.kill()  # the task is made, and nobody hears of it
    world.clock.advance(seconds)
    for _ in range(5):
        other.work(FOLLOW_UP)
    late.work(FOLLOW_UP, ANSWERED)
    world.clock.advance(3600)
    late.go_on()

    assert State.SUBMITTING is job_of(other).state, "its slot is not given away, and it is never held for lost"
    assert State.RUNNING is until(other, State.RUNNING)
    assert [] == world.kling.repeated


def test_a_look_up_between_a_create_and_its_answer_is_as_good(world: World) -> None:
    """The task is found, ended and archived before the create's own answer is heard: that changes nothing more."""
    slow, other = Process(world, 300), Process(world, -300)
    slow.work(SUBMIT, SENT)
    assert State.RUNNING is until(other, State.RUNNING)
    world.kling.tasks["job"].status = "succeed"
    assert State.COPYING is until(other, State.COPYING)
    other.work((messages.ARCHIVE, "archive", ("job",)))
    slow.go_on()

    assert State.ARCHIVED is job_of(other).state
    assert [] == world.kling.repeated


def test_a_move_says_what_the_time_is(engine: Engine) -> None:
    """A machine whose every clock stood still hears of it with the row that lets a create leave."""
    store = Repository(engine)
    new = NewJob("job", "default", "default", "videos/omni-video", None, None, b"f", b"{}")
    job = store.accept(new, MORNING).job
    asleep = FakeClock()
    told = DatabaseClock(asleep, lambda: 0.0)
    told.hear(MORNING)
    assert Repository(engine, told.hear).move(job, Event.SUBMIT_BEGUN, told())

    assert told() != MORNING


@pytest.mark.parametrize("hours", [-1, 1])
def test_whose_host_is_off_goes_by_the_database(engine: Engine, hours: int) -> None:
    """A sweep asks what the time is before it looks for what is due, and whoever leases a copy hears it."""
    store, new = Repository(engine), NewJob("job", "default", "default", "videos/omni-video", None, None, b"f", b"{}")
    job = store.accept(new, MORNING).job
    for event in (Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN, Event.TASK_SUCCEEDED):
        moved = store.move(job, event, MORNING)
        assert moved is not None
        job = moved.job
    asked, leased = (DatabaseClock(lambda: datetime.now(UTC) + timedelta(hours=hours)) for _ in range(2))
    Repository(engine, asked.hear).ask_time()
    assert Repository(engine, leased.hear).lease("job", "worker", MORNING, timedelta(seconds=20))

    assert all(abs(told() - datetime.now(UTC)) < timedelta(minutes=30) for told in (asked, leased))


def test_not_sent_is_what_a_provider_says_of_what_may_not_leave(world: World) -> None:
    """Whoever asks for a create says until when it may leave, and is told that it did not."""
    process = Process(world, 0)
    with pytest.raises(NotSent):
        process.provider.create(job_of(process), {}, MORNING, lambda: False)

    assert {} == world.kling.tasks
