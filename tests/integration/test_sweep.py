"""What sweeps send: what is due, what runs before what waits, and no more than somebody takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Engine, text

from infra.queue import Queue, make_celery
from infra.settings import Settings
from tests.fakes import MORNING, FakeClock, FakeQueue
from tests.integration.broker_kit import patient_celery
from tests.integration.slots_kit import new, the
from worker import messages
from worker.jobs.machine import Event
from worker.store.accounts import Accounts
from worker.store.inbox import Inbox
from worker.store.outbox import Outbox
from worker.store.repository import Repository
from worker.tasks.sweep import LEASE, LONGEST, sweep
from worker.tasks.take_slots import WAIT_SECONDS

#: Jobs that wait for an account that is full or stopped.
MANY = 12_000
#: Seconds between two sweeps.
BEAT = 3
_LINE = """
    insert into jobs (id, caller, account, family, state, fingerprint, created_at, updated_at, due_at, queued)
    select 'w' || number, 'many', 'default', 'videos/omni-video', 'accepted', '', :now, :now,
        :now + interval '1 second' * (:spread * number / :many), :spread > 0
    from generate_series(1, :many) number
"""


class Beat:
    """Sweeps over rows, with a broker from which nobody takes anything unless the test does."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.store, self.accounts = engine, Repository(engine), Accounts(engine)
        self.queue, self.clock = FakeQueue(), FakeClock()

    def line(self, many: int, spread: float = 0) -> None:
        """Jobs that wait: each asks for itself within `spread` seconds; if none, all at once, for the first time."""
        with self.engine.begin() as connection:
            connection.execute(text(_LINE), {"now": self.clock(), "many": many, "spread": spread})

    def running(self, seconds: float) -> None:
        """A job of another account, to be followed up after so long."""
        job = self.store.accept(new("running"), self.clock()).job
        for event in (Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN):
            due = self.clock() + timedelta(seconds=seconds)
            moved = self.store.move(job, event, self.clock(), due_at=due, changes={"account": "other"})
            assert moved is not None
            job = moved.job

    def full(self) -> None:
        """The account's one slot is taken, by a job that nobody has to look after soon."""
        self.store.accept(new("holder"), self.clock())
        gate = partial(self.accounts.admit, job=the(self.store, "holder"), account="default", configured=1, now=MORNING)
        due = self.clock() + timedelta(days=1)
        assert self.store.move(the(self.store, "holder"), Event.SUBMIT_BEGUN, self.clock(), due_at=due, gate=gate)

    def tick(self) -> Counter[str]:
        """One sweep; what was sent by it, by task."""
        before = len(self.queue.sent)
        rows = {"store": self.store, "inbox": Inbox(self.engine), "outbox": Outbox(self.engine)}
        sweep(**rows, accounts=self.accounts, concurrency=lambda _: 1, queue=self.queue, clock=self.clock)  # type: ignore[arg-type]  # of three types
        self.clock.advance(BEAT)
        return Counter(task for task, _, _ in self.queue.sent[before:])


def test_jobs_that_wait_for_slots_cost_nothing(engine: Engine) -> None:
    """12,000 jobs of a full account ask once a day each: five minutes of sweeps send 41 messages."""
    beat = Beat(engine)
    beat.full()
    beat.line(MANY, spread=WAIT_SECONDS)
    sent = 0
    for _ in range(100):
        sent += beat.tick()[messages.SUBMIT]
        while beat.queue.sent:
            job = the(beat.store, beat.queue.sent.pop()[2][0])
            beat.store.postpone(job, beat.clock() + timedelta(seconds=WAIT_SECONDS), queued=True)

    assert 99 * BEAT * MANY // WAIT_SECONDS == sent


def test_who_was_not_woken_is_found_by_the_next_sweep(engine: Engine) -> None:
    """The slot comes free, and whoever freed it dies before he wakes anybody: a sweep makes the first in the line due,
    though its own time is a day away, and once more when that message is lost; the others sleep on.
    """
    beat = Beat(engine)
    beat.full()
    beat.line(MANY, spread=WAIT_SECONDS)
    with beat.engine.begin() as connection:
        connection.execute(text("update jobs set due_at = due_at + interval '1 day' where queued"))
        connection.execute(text("update jobs set state = 'failed', due_at = null where id = 'holder'"))
    sent = [beat.tick()[messages.SUBMIT] for _ in range(int(LEASE.total_seconds()) // BEAT + 2)]

    assert ([1, 1], 2) == ([sent[0], sent[-1]], sum(sent))
    assert 1 == len({args for _, _, args in beat.queue.sent})


def test_jobs_of_an_account_that_is_gone_are_found_once_it_is_back(engine: Engine) -> None:
    """It was never asked for, so no row knows it: its job sleeps for a day, and a sweep finds it all the same."""
    beat = Beat(engine)
    beat.accounts.expect("elsewhere:videos")
    beat.store.accept(replace(new("job"), account="elsewhere"), beat.clock())
    beat.store.postpone(the(beat.store, "job"), beat.clock() + timedelta(days=1), queued=True)

    assert {messages.SUBMIT: 1} == beat.tick()


def test_what_runs_is_not_kept_waiting_by_what_waits(engine: Engine) -> None:
    """12,000 jobs that are due at once, and one that runs: it is followed up by the first sweep after its time, whether
    somebody takes the messages or nobody; the others are sent as fast as they are taken.
    """
    beat = Beat(engine)
    beat.running(seconds=BEAT * 2 - 1)
    beat.line(MANY)

    assert {messages.SUBMIT: LONGEST} == beat.tick()
    assert {} == beat.tick()
    assert {messages.FOLLOW_UP: 1} == beat.tick()
    sent = {args[0] for _, _, args in beat.queue.sent}
    for _ in range(MANY // LONGEST - 1):
        beat.queue.sent.clear()
        beat.tick()
        sent |= {args[0] for _, _, args in beat.queue.sent}
    assert MANY + 1 == len(sent)


def test_messages_that_nobody_takes_do_not_multiply(engine: Engine) -> None:
    """100 jobs for ten minutes: as many messages as a queue may hold, and no more; once the broker has lost them all,
    each job is sent again within a lease and a beat.
    """
    beat = Beat(engine)
    beat.line(100)
    for _ in range(200):
        beat.tick()
    assert len(beat.queue.sent) <= LONGEST

    beat.queue.sent.clear()
    for _ in range(int(LEASE.total_seconds()) // BEAT + 1):
        beat.tick()
    assert 100 == len({args[0] for _, _, args in beat.queue.sent})


def test_while_the_broker_is_away_nothing_is_claimed(engine: Engine) -> None:
    """As soon as it is there again, all that is due is sent, without waiting for leases to end."""
    beat = Beat(engine)
    beat.line(100)
    beat.queue.down = True
    beat.tick()
    beat.queue.down = False

    assert {messages.SUBMIT: 100} == beat.tick()


def test_a_queue_says_how_much_lies_in_it(settings: Settings) -> None:
    """Messages that nobody took are counted; a queue without any has none; a broker that is not there says nothing."""
    app = patient_celery(settings)
    gone = make_celery(settings.model_copy(update={"broker_url": "redis://127.0.0.1:1"}))
    try:
        queue = Queue(app)
        assert 0 == queue.waiting("looked-into")
        assert all(queue.send("nothing", "looked-into", ()) for _ in range(3))
        assert 3 == queue.waiting("looked-into")
        with app.connection_for_write() as connection:
            channel: Any = connection.default_channel
            channel.queue_purge("looked-into")
        assert 0 == queue.waiting("looked-into")
        assert Queue(gone).waiting("looked-into") is None
    finally:
        app.close()
        gone.close()
