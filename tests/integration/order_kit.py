"""A Kling with ways of its own, and worker processes that stand still wherever a test wants them to.

Each process has a clock that may be wrong; the database's is `World.clock`. A step runs in a thread of its own and goes
only while the test waits for it, so what happens is the same each time, and between any two words that a step has with
the rows or with Kling anything may happen that another process does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock, Semaphore, Thread, current_thread
from typing import Any, cast

from sqlalchemy import Engine, func, select

from infra.db import single
from infra.http import Answer, Http, NoAnswer, NotSent
from tests.fakes import MORNING, FakeClock, FakeQueue
from tests.integration.submit_kit import MISSING, PAGE, said
from worker import messages
from worker.inputs import Inputs
from worker.jobs.events import inner
from worker.jobs.machine import Event, Step
from worker.jobs.model import ENDS, Job, State
from worker.kling.gateways import parse_account
from worker.pipelines import Pipelines
from worker.ports import Clock
from worker.provider import Provider
from worker.store.accounts import Accounts
from worker.store.aside import Aside
from worker.store.inbox import Inbox
from worker.store.moment import DatabaseClock
from worker.store.moves import Moved
from worker.store.outbox import Outbox
from worker.store.repository import Repository
from worker.store.tables import deliveries, events, jobs
from worker.store.turns import HOLDING
from worker.tasks.begin import Begin
from worker.tasks.follow_up import follow_up
from worker.tasks.submit import submit
from worker.tasks.sweep import sweep

#: So long after it was made Kling may take to show a task.
LONGEST_UNSEEN = 110
#: Slots that the account is said to have.
SLOTS = 2
#: So long one call may take.
_CALL_SECONDS = 30.0
#: How a call may go wrong, before Kling has it or after.
SPOILT = ("refused", "full", "arrears", "unsent", "dropped", "lost", "error", "page", "doubled")
_REFUSED = {
    "refused": said(1201, 400, message="prompt is too long"),
    "full": said(1303, 429, message="parallel task over resource pack limit"),
    "arrears": said(1102, 429, message="resource pack exhausted"),
}
_REPEATED = said(1201, 400, message="external_task_id already exists")


class Killed(BaseException):
    """The process was killed here. No handler may catch it."""


@dataclass
class Made:
    """A task, as Kling has it."""

    shown_at: datetime
    status: str = "processing"


@dataclass
class Kling:
    """Keeps its own truth, shows a task when it likes, and may not take an external id twice."""

    clock: FakeClock
    unique: bool = True
    slots: int = SLOTS  #: that it has
    unseen: float = 0  #: seconds until a task shows that is made now
    spoilt: str | None = None  #: what becomes of the next call
    tasks: dict[str, Made] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)  #: whose creates came although their task was there
    _lock: Lock = field(default_factory=Lock)

    def take_spoilt(self) -> str | None:
        """What becomes of this call."""
        with self._lock:
            spoilt, self.spoilt = self.spoilt, None
        return spoilt

    def create(self, name: str) -> Answer:
        """Make a task, as it is asked to."""
        with self._lock:
            if name in self.tasks:
                self.repeated.append(name)
                if self.unique:
                    return _REPEATED
            if len(self.open()) >= self.slots:
                return _REFUSED["full"]
            self.tasks[name] = Made(self.clock() + timedelta(seconds=self.unseen))
            return self._shown(name)

    def query(self, name: str) -> Answer:
        """What it says of a task just now."""
        with self._lock:
            made = self.tasks.get(name)
            return self._shown(name) if made and made.shown_at <= self.clock() else MISSING

    def open(self) -> list[str]:
        """Whose tasks it works on."""
        return [name for name, made in self.tasks.items() if made.status == "processing"]

    def _shown(self, name: str) -> Answer:
        return said(data={"task_id": f"k-{name}", "task_status": self.tasks[name].status})


#: Where Kling works on a task, its job holds a slot, or nobody can know of it any more.
_AWARE = {State.SUBMITTING, State.RUNNING, State.UNKNOWN, State.EXPIRED}
_STANDING = select(
    jobs.c.id,
    jobs.c.state,
    jobs.c.adopted_from,
    jobs.c.provider_task_id,
    select(func.count())
    .where(events.c.job_id == jobs.c.id, events.c.type.in_([inner(state) for state in ENDS]))
    .scalar_subquery()
    .label("ends"),
    select(func.count()).where(deliveries.c.job_id == jobs.c.id).scalar_subquery().label("told"),
)


class World:
    """The rows, the one true time, Kling, and a broker that the test runs through."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.clock, self.queue = engine, FakeClock(), FakeQueue()
        self.kling = Kling(self.clock)
        self.accounts, self.inbox, self.outbox = Accounts(engine), Inbox(engine), Outbox(engine)

    @property
    def seconds(self) -> float:
        """Since the morning."""
        return (self.clock() - MORNING).total_seconds()

    def states(self) -> dict[str, State]:
        """Where each job stands. P3, P4, the slots' law and that of adoption hold just now, or it raises."""
        with single(self.engine).connect() as connection:
            rows = connection.execute(_STANDING).all()
        adopted = {row.adopted_from: row for row in rows if row.adopted_from}
        assert len(adopted) == sum(row.adopted_from is not None for row in rows), "a task is adopted once"
        states = {row.id: State(row.state) for row in rows}
        assert [] == self.kling.repeated, "P4: Kling is never asked for a task that it has"
        for row in rows:
            assert (states[row.id] in ENDS) == row.ends == row.told, "P3: an end is told once, and nothing before it"
        for name, row in adopted.items():
            assert (State.UNKNOWN, f"k-{name}") == (states[name], row.provider_task_id), "an end is never left"
        # What is adopted holds its slot as it did, and nobody was asked for that.
        assert len([row for row in rows if states[row.id] in HOLDING and not row.adopted_from]) <= SLOTS
        for name in self.kling.open():
            assert states[name] in _AWARE, "no slot is given away while Kling works on its task"
        return states


class Process:
    """A worker: its clock, its way to the rows and to Kling, and the step that it does."""

    def __init__(self, world: World, skew: float) -> None:
        self.world = world
        self._skew = timedelta(seconds=skew)
        account = parse_account(f"kling://ACCESS:SECRETSECRETSECRETSECRETSECRETSE@kling.example?concurrency={SLOTS}")
        wire = cast("Http", _Wire(world, self.pause))
        self.provider = Provider({"default": account}, wire, "http://us", b"s" * 40, _CALL_SECONDS, 1.0, str)
        self.start()

    def start(self) -> None:
        """A new process in the place of the one that was, which knows nothing yet of the database's time."""
        world = self.world
        told = DatabaseClock(lambda: world.clock() + self._skew, lambda: world.seconds)
        self.time: Clock = told
        self.store = _Rows(world, told, self.pause)
        self.step: _Step | None = None

    @property
    def busy(self) -> bool:
        """Whether it stands still in the middle of a step."""
        return self.step is not None

    def work(self, message: tuple[str, str, tuple[Any, ...]], passes: int | None = None) -> None:
        """Take a message, and stand still after `passes` words with the rows or Kling; None: do all of it."""
        self.step = _Step(lambda: self.do(message))
        self.go_on(passes)

    def go_on(self, passes: int | None = None) -> None:
        """Wake up, for as many words more."""
        assert self.step is not None
        self.step.go(passes)
        if self.step.is_over:
            self.step = None

    def kill(self) -> None:
        """End it where it stands."""
        assert self.step is not None
        self.step.killed = True
        self.go_on()
        self.start()

    def pause(self) -> None:
        """Where it may stand still."""
        if self.step:
            self.step.pause()

    def sweep(self) -> None:
        """What beat asks for."""
        world = self.world
        rows: Any = {"store": self.store, "inbox": world.inbox, "outbox": world.outbox, "accounts": world.accounts}
        sweep(**rows, concurrency=self.provider.concurrency, queue=world.queue, clock=self.time)

    def do(self, message: tuple[str, str, tuple[Any, ...]]) -> None:
        """What a worker does with a message; archiving is taken as done."""
        task, _, args = message
        world = self.world
        begin = Begin(self.store, Aside(world.engine), world.queue, self.time)
        rows: Any = {"begin": begin, "store": self.store, "queue": world.queue, "clock": self.time}
        asked: Any = {"accounts": world.accounts, "provider": self.provider}
        pipelines = Pipelines(self.store, Inputs(None, None), {}, None)
        verbs: dict[str, Callable[[str], None]] = {
            messages.SUBMIT: lambda job: submit(job, pipelines=pipelines, **rows, **asked),
            messages.FOLLOW_UP: lambda job: follow_up(job, **rows, **asked),
            messages.ARCHIVE: self._archived,
            messages.ANNOUNCE: lambda _: None,
        }
        verbs[task](*args)

    def _archived(self, name: str) -> None:
        job = self.store.get(name)
        assert job is not None
        self.store.move(job, Event.FILES_PROVEN, self.time())


class _Step:
    """A thread that goes only while somebody waits for it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._go, self._stands = Semaphore(0), Semaphore(0)
        self._passes: int | None = None
        self._fault: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        self.killed = self.is_over = False

    def go(self, passes: int | None) -> None:
        """Let it go until it has paused so often, or is over. Raises what it raised."""
        self._passes = passes
        self._go.release()
        assert self._stands.acquire(timeout=60), "a step neither stands still nor ends"
        if self._fault:
            raise self._fault

    def pause(self) -> None:
        """Stand still here, if it is time; die, if it was killed. Others who use the same rows go by."""
        if self._passes is None or current_thread() is not self._thread:
            return
        if self._passes:
            self._passes -= 1
            return
        self._stands.release()
        self._go.acquire()
        if self.killed:
            raise Killed

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._work()
        except Killed:
            pass
        except BaseException as fault:  # noqa: BLE001 - whatever it is, the test must hear of it
            self._fault = fault
        self.is_over = True
        self._stands.release()


class _Rows(Repository):
    """Rows in a database whose clock is the world's, for a process that may stand still before each statement."""

    def __init__(self, world: World, told: DatabaseClock, pause: Callable[[], None]) -> None:
        super().__init__(world.engine, lambda _: told.hear(world.clock()))
        self._pause = pause

    def begin(self, job_id: str, step: Step, now: datetime) -> Job | None:
        """As `Repository` does."""
        self._pause()
        return super().begin(job_id, step, now)

    def move(self, job: Job, event: Event, now: datetime, **options: Any) -> Moved | None:
        """As `Repository` does."""
        self._pause()
        return super().move(job, event, now, **options)

    def postpone(self, job: Job, due_at: datetime, **changes: Any) -> bool:
        """As `Repository` does."""
        self._pause()
        return super().postpone(job, due_at, **changes)


class _Wire:
    """Stands in for `Http`: the process may stand still before it sends, before it hears, and with what it heard."""

    def __init__(self, world: World, pause: Callable[[], None]) -> None:
        self._world = world
        self._pause = pause

    def send(
        self,
        method: str,
        url: str,
        _headers: Mapping[str, str],
        body: bytes | None,
        *,
        seconds: float,
        may: Callable[[], bool] | None = None,
    ) -> Answer:
        """As `Http` does."""
        spoilt = self._world.kling.take_spoilt()
        self._pause()
        if spoilt == "unsent" or (may and not may()):
            raise NotSent("no connection")
        began = self._world.seconds
        if spoilt == "dropped":
            raise NoAnswer("gone")
        answer = self._arrive(method, url, body, spoilt)
        self._pause()
        came = spoilt != "lost" and self._world.seconds - began < seconds
        self._pause()
        if not came:
            raise NoAnswer("gone")
        return {"error": said(5000, 500, message="oops"), "page": PAGE}.get(spoilt or "", answer)

    def _arrive(self, method: str, url: str, body: bytes | None, spoilt: str | None) -> Answer:
        kling = self._world.kling
        if method == "GET":
            return kling.query(url.rpartition("/")[2].removeprefix("k-"))
        if spoilt in _REFUSED:
            return _REFUSED[spoilt]
        name = json.loads(body or b"")["external_task_id"]
        answer = kling.create(name)
        # Something on the way sent it twice, and what we hear is how the second one was refused.
        return _REPEATED if spoilt == "doubled" and kling.unique and answer.status == 200 else answer
