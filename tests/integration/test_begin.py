"""A step that ends its process every time: begun so often and no more, ever further apart, then shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.exc import OperationalError

from infra.db import make_engine
from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.fakes import MORNING, FakeClock, FakeQueue
from tests.integration import slots_kit
from tests.integration.archive_kit import film, video, yard
from tests.integration.submit_kit import Desk
from tests.origin import film_of, origin
from worker import messages, parts, source
from worker.jobs import retry
from worker.jobs.machine import Event, Step
from worker.jobs.model import ENDS, Job, State
from worker.store.aside import Aside
from worker.store.chains import After
from worker.store.repository import NewJob, Repository
from worker.store.tables import accounts
from worker.tasks.begin import SET_ASIDE, Begin
from worker.tasks.sweep import LEASE

_LOOK_SECONDS = 20


class Died(BaseException):
    """A worker was killed here."""


class Ground:
    """One job, and workers that die over it."""

    def __init__(self, engine: Engine, *events: Event, after: str | None = None) -> None:
        self.store, self.queue, self.clock = Repository(engine), FakeQueue(), FakeClock()
        self.aside = Aside(engine)
        self.begin = Begin(self.store, self.aside, self.queue, self.clock)
        if after:
            earlier = self.store.accept(slots_kit.new(after), MORNING).job
            self.store.postpone(earlier, MORNING + timedelta(days=9))
        new = NewJob("job", "default", "default", "videos/omni-video", None, "https://a.example/", b"f", b"{}")
        self.store.accept(replace(new, after=After({after: after}, 1) if after else None), MORNING)
        for event in events:
            assert self.store.move(self.job, event, self.clock())

    @property
    def job(self) -> Job:
        """As it is now."""
        job = self.store.get("job")
        assert job is not None
        return job

    def deaths(self, most: int = 100) -> int:
        """How many workers die that begin the job's step whenever a sweep says so, until it has ended."""
        dead = 0
        while self.job.state not in ENDS and dead < most:
            for due in self.store.claim_due(self.clock(), lease=LEASE, limit=1):
                dead += self.begin(due.job_id, due.step) is not None
            self.clock.advance(_LOOK_SECONDS)
        return dead


@pytest.mark.parametrize(
    ("road", "end"),
    [
        ((), State.FAILED),
        ((Event.SUBMIT_BEGUN,), State.UNKNOWN),
        ((Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN), State.EXPIRED),
    ],
)
def test_a_step_that_always_kills_is_set_aside(engine: Engine, road: tuple[Event, ...], end: State) -> None:
    """P1: begun eight times over more than an hour, its job ends, is told of, and is shown with the reason."""
    ground = Ground(engine, *road)

    assert retry.DEATHS == ground.deaths()
    assert (end, SET_ASIDE) == (ground.job.state, ground.job.error_code)
    assert (ground.clock() - MORNING).total_seconds() > 3600
    assert ["job job"] == [one.task for one in ground.aside.newest(9)]
    assert [messages.ANNOUNCE] == [task for task, _, _ in ground.queue.sent]


def test_a_job_that_waits_for_others_is_set_aside_too(engine: Engine) -> None:
    """P1: what looks whether it may begin dies each time: eight times, then it has failed and is shown."""
    ground = Ground(engine, after="earlier")

    assert (State.WAITING, retry.DEATHS) == (ground.job.state, ground.deaths())
    assert (State.FAILED, SET_ASIDE) == (ground.job.state, ground.job.error_code)
    assert ["job job"] == [one.task for one in ground.aside.newest(9)]


def test_a_look_at_what_it_waits_for_is_not_a_death(engine: Engine) -> None:
    """A job that may not begin yet has said so: however often it looked, nothing is counted."""
    ground = Ground(engine, after="earlier")
    for _ in range(retry.DEATHS + 2):
        assert ground.begin("job", Step.SUBMIT)
        ground.store.chains.put_off("job", ground.clock())
        ground.clock.advance(_LOOK_SECONDS)

    assert (State.WAITING, 0) == (ground.job.state, ground.job.begun)


def test_a_word_of_the_step_is_not_a_death(engine: Engine) -> None:
    """Seven deaths, one answer, seven deaths: the job lives; a message that comes twice is one beginning."""
    ground = Ground(engine)
    for _ in range(2):
        assert retry.DEATHS - 1 == ground.deaths(most=retry.DEATHS - 1)
        assert ground.begin("job", Step.SUBMIT)
        assert ground.store.postpone(ground.job, ground.clock())
    for _ in range(retry.DEATHS * 2):
        assert ground.begin("job", Step.SUBMIT)

    assert (State.ACCEPTED, 1) == (ground.job.state, ground.job.begun)


def test_a_lock_that_somebody_holds_is_no_death(engine: Engine, settings: Settings) -> None:
    """P1: while an account's row is locked no job of it goes on, however often it is begun, and none is set aside."""
    impatient = make_engine(settings, application="reelhook-worker", lock_seconds=0.02)
    desk = Desk(impatient)
    with engine.begin() as connection:
        connection.execute(insert(accounts).values(name="default:videos"))
    with engine.begin() as holder:
        holder.execute(select(accounts).with_for_update())
        for _ in range(retry.DEATHS * 2):
            with pytest.raises(OperationalError), desk.begin.spared("job"):
                desk.work()
            desk.clock.advance(retry.DEATH_LONGEST_PAUSE)
        assert (State.ACCEPTED, 0) == (desk.job.state, desk.job.begun)

    assert State.RUNNING is desk.until(State.RUNNING)
    impatient.dispose()


def test_a_worker_that_vanished_holds_no_lock_for_long(engine: Engine) -> None:
    """The server ends a transaction that says nothing for 30 s, and looks whether its client is still there."""
    names = ("idle_in_transaction_session_timeout", "tcp_keepalives_idle")
    with engine.connect() as connection:
        shown = [connection.execute(text(f"show {name}")).scalar_one() for name in names]

    assert ["30s", "30"] == shown


def test_a_copy_that_always_kills_leaves_nothing_under_way(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P7: each worker dies with an upload begun; once the job is set aside neither upload nor row is left."""

    def die(*_: object, **__: object) -> None:
        raise Died

    monkeypatch.setattr(ObjectStore, "complete", die)
    monkeypatch.setattr(parts, "PART_BYTES", 5 * 2**20)
    monkeypatch.setattr(source, "SPOOLED_BYTES", 0)  # so that it goes in parts
    file, died = film_of(film(), 11 * 2**20), 0
    with origin(film=file) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        while made.state is State.COPYING:
            try:
                made.work()
            except Died:
                died += 1
            made.clock.advance(retry.DEATH_LONGEST_PAUSE)

    assert (retry.DEATHS, State.FAILED) == (died, made.state)
    assert (0, 0) == made.left()[1:]
