"""Whatever happens, in whatever order: one job's life as a state machine, on real rows and a clock that is told to go.

The provider is a stand-in whose every answer Hypothesis may spoil; messages are lost, doubled and late; workers die
between any two steps. P1 to P4 hold at every moment, and once the world is whole again every job ends.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select, text

from infra.http import NoAnswer, NotSent
from tests.fakes import FakeClock, FakeQueue
from tests.unit.test_machine import RANK
from worker import messages
from worker.inputs import Inputs
from worker.jobs.machine import Event
from worker.jobs.model import ENDS, Job, State
from worker.kling.answers import Task, TaskStatus
from worker.kling.errors import ConcurrencyExceeded, InvalidParameter, ResourceMissing, ServerError
from worker.pipelines import Pipelines
from worker.store.accounts import Accounts
from worker.store.aside import Aside
from worker.store.chains import After
from worker.store.inbox import Arrival, Inbox
from worker.store.outbox import Outbox
from worker.store.repository import NewJob, Repository
from worker.store.tables import jobs, metadata
from worker.tasks.begin import Begin
from worker.tasks.follow_up import follow_up
from worker.tasks.submit import submit
from worker.tasks.sweep import sweep

NAMES = "abcde"
#: Which stand on which.
EDGES = (("a", "d"), ("b", "d"), ("d", "e"))
SPOILT = ("refused", "full", "unsent", "dropped", "lost", "error", "died before", "died after", None)


class Died(BaseException):
    """A worker was killed here. No handler may catch it."""


class FakeProvider:
    """A provider that keeps its own truth, and may be told how to spoil its next answers."""

    seconds = 10.0
    absent_after = timedelta(seconds=20)

    def __init__(self) -> None:
        self.tasks: dict[str, TaskStatus] = {}
        self.creates: list[str] = []
        self.duplicates = 0
        self.spoilt: str | None = None

    def concurrency(self, _account: str) -> int:
        """Slots."""
        return 2

    def kind(self, job: Job, _body: object) -> str:
        """As the real one has it."""
        return job.family

    def expected_at(self, _job: Job, _body: object, now: datetime) -> datetime:
        """At once."""
        return now

    def create(self, job: Job, _body: object, _now: datetime) -> Task:
        """Make a task, or not, and say so, or not."""
        spoilt, self.spoilt = self.spoilt, None
        match spoilt:
            case "refused":
                raise InvalidParameter("no", http_status=400, code=1201)
            case "full":
                raise ConcurrencyExceeded("full", http_status=429, code=1303)
            case "unsent":
                raise NotSent("no connection")
            case "dropped":
                raise NoAnswer("gone")
            case "died before":
                raise Died
        self.duplicates += job.id in self.tasks
        self.creates.append(job.id)
        self.tasks[job.id] = TaskStatus.PROCESSING
        match spoilt:
            case "lost":
                raise NoAnswer("gone")
            case "error":
                raise ServerError("oops", http_status=500, code=5000)
            case "died after":
                raise Died
        return self._task(job)

    def query(self, job: Job, _now: datetime) -> tuple[Task, bytes]:
        """What is true, or no answer."""
        spoilt, self.spoilt = self.spoilt, None
        if spoilt in {"dropped", "unsent", "error"}:
            raise NoAnswer("gone")
        if spoilt in {"died before", "died after"}:
            raise Died
        if job.id not in self.tasks:
            raise ResourceMissing("no such task", http_status=404, code=1203)
        return self._task(job), b"{}"

    def _task(self, job: Job) -> Task:
        status = self.tasks[job.id]
        return Task(f"k-{job.id}", status, status.value, "", job.id, (), None, None, None, {})


class Life(RuleBasedStateMachine):
    """Three jobs, two that stand on them, and everything that can happen to them."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        names = ", ".join(table.name for table in metadata.sorted_tables)
        with self.engine.begin() as connection:
            connection.execute(text(f"truncate {names} restart identity"))
        self.store, self.accounts, self.outbox = Repository(self.engine), Accounts(self.engine), Outbox(self.engine)
        self.inbox = Inbox(self.engine)
        self.provider, self.queue, self.clock = FakeProvider(), FakeQueue(), FakeClock()
        self.seen: dict[str, list[State]] = {}

    @initialize()
    def accept(self) -> None:
        """Three jobs for two slots, one that waits for two of them, and one that waits for that one."""
        stands = {"a": (), "b": (), "c": (), "d": ("a", "b"), "e": ("d",)}
        for depth, (name, earlier) in zip((0, 0, 0, 1, 2), stands.items(), strict=True):
            after = After({one: one for one in earlier}, depth) if earlier else None
            new = NewJob(
                name, "default", "default", "videos/omni-video", None, "https://app/hook", b"f", b"{}", after=after
            )
            self.store.accept(new, self.clock())
            self.seen[name] = [State.WAITING if earlier else State.ACCEPTED]

    @rule(
        how=st.sampled_from(
            ["refused", "full", "unsent", "dropped", "lost", "error", "died before", "died after", None]
        )
    )
    def spoil(self, how: str | None) -> None:
        """The provider's next answer goes wrong in this way."""
        self.provider.spoilt = how

    @rule()
    def swept(self) -> None:
        """Beat ticks."""
        rows: Any = {"store": self.store, "inbox": self.inbox, "outbox": self.outbox, "accounts": self.accounts}
        sweep(**rows, concurrency=self.provider.concurrency, queue=self.queue, clock=self.clock)

    @precondition(lambda self: self.queue.sent)
    @rule(data=st.data(), fate=st.sampled_from(["once", "twice", "lost", "kept"]))
    def delivered(self, data: st.DataObject, fate: str) -> None:
        """Any waiting message is worked on: once, twice, never, or now and again later."""
        message = data.draw(st.sampled_from(self.queue.sent))
        if fate != "kept":
            self.queue.sent.remove(message)
        for _ in range({"once": 1, "twice": 2, "lost": 0, "kept": 1}[fate]):
            self.work(message)

    @rule(seconds=st.sampled_from([1, 5, 30, 120, 4000]))
    def waited(self, seconds: int) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    @rule(name=st.sampled_from(NAMES), status=st.sampled_from([TaskStatus.SUCCEEDED, TaskStatus.FAILED]))
    def ended_there(self, name: str, status: TaskStatus) -> None:
        """The provider ends a task that it has."""
        if self.provider.tasks.get(name) is TaskStatus.PROCESSING:
            self.provider.tasks[name] = status

    @rule(name=st.sampled_from(NAMES), word=st.sampled_from(["processing", "succeed", "failed"]))
    def called_back(self, name: str, word: str) -> None:
        """A callback comes: true or forged, early, late or again."""
        self.inbox.put([Arrival(name, word.encode(), "understood", word, self.clock())])
        messages.send(self.queue, [messages.Message(messages.FOLLOW_UP, "follow_up", (name,))])

    @rule(name=st.sampled_from(NAMES))
    def cancelled(self, name: str) -> None:
        """Somebody asks for the end of a job that was not submitted."""
        job = self.store.get(name)
        assert job is not None
        if not job.submissions:
            self.store.move(job, Event.CANCEL_ASKED, self.clock())

    def work(self, message: tuple[str, str, tuple[Any, ...]]) -> None:
        """What a worker does with a message; archiving is taken as done."""
        task, _, args = message
        begin = Begin(self.store, Aside(self.engine), self.queue, self.clock)
        rows: Any = {"begin": begin, "store": self.store, "queue": self.queue, "clock": self.clock}
        asked: Any = {"accounts": self.accounts, "provider": self.provider}
        pipelines = Pipelines(self.store, Inputs(None, None), {}, None)
        verbs: dict[str, Callable[[str], None]] = {
            messages.SUBMIT: lambda job: submit(job, pipelines=pipelines, **rows, **asked),
            messages.FOLLOW_UP: lambda job: follow_up(job, **rows, **asked),
            messages.ARCHIVE: self.archived,
            messages.ANNOUNCE: lambda _: None,
        }
        try:
            verbs[task](*args)
        except Died:
            return

    def archived(self, name: str) -> None:
        """The files are safe."""
        job = self.store.get(name)
        assert job is not None
        self.store.move(job, Event.FILES_PROVEN, self.clock())

    @invariant()
    def no_task_is_made_twice(self) -> None:
        """P4: the provider is never asked for a task that it has."""
        assert 0 == self.provider.duplicates

    def states(self) -> dict[str, State]:
        """Where each job stands."""
        with self.engine.connect() as connection:
            return {row.id: State(row.state) for row in connection.execute(select(jobs.c.id, jobs.c.state))}

    @invariant()
    def no_state_goes_back(self) -> None:
        """P3: a job goes forward only, but for a create that was surely absent; an end is never left."""
        for name, state in self.states().items():
            seen = self.seen[name]
            if state is not seen[-1]:
                assert seen[-1] not in ENDS
                assert RANK[state] > RANK[seen[-1]] or state is State.ACCEPTED
                seen.append(state)

    @invariant()
    def nothing_begins_before_what_it_stands_on(self) -> None:
        """A job that stands on others is never asked for before they are archived, and never after one went wrong."""
        states = self.states()
        for first, later in EDGES:
            if states and states[first] is not State.ARCHIVED:
                assert states[later] in {State.WAITING, State.FAILED, State.CANCELLED}
                assert later not in self.provider.creates

    @invariant()
    def ends_are_told_once(self) -> None:
        """P3: one delivery for each end, none before."""
        with self.engine.connect() as connection:
            told = connection.execute(text("select count(*) from deliveries")).scalar_one()
        assert sum(state in ENDS for state in self.states().values()) == told

    def teardown(self) -> None:
        """P1: once nothing goes wrong any more, every job ends."""
        self.provider.spoilt = None
        for _ in range(400):
            if set(self.states().values()) <= ENDS:
                return
            for name, status in self.provider.tasks.items():
                if status is TaskStatus.PROCESSING:
                    self.provider.tasks[name] = TaskStatus.SUCCEEDED
            self.swept()
            while self.queue.sent:
                self.work(self.queue.sent.pop(0))
            self.clock.advance(20)
        raise AssertionError([self.store.get(name) for name in self.seen])


@pytest.mark.timeout(180)
def test_whatever_happens_in_whatever_order(engine: Engine) -> None:
    """P1, P3, P4 over arbitrary orders, repetitions, losses, delays and deaths."""
    machine = type("LifeOnRows", (Life,), {"engine": engine})
    run_state_machine_as_test(
        machine, settings=hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)
    )
