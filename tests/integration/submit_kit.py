"""One job, real rows, and a Kling at the wire that says what a test wants."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Engine

from infra.http import Answer, Http, NotSent
from tests.fakes import MORNING, FakeClock, FakeQueue
from worker.inputs import Inputs
from worker.jobs.machine import Event
from worker.jobs.model import ENDS, Job, State
from worker.kling.gateways import parse_account
from worker.pipelines import Pipelines
from worker.ports import Clock
from worker.provider import Provider
from worker.store.accounts import Accounts
from worker.store.aside import Aside
from worker.store.moment import DatabaseClock
from worker.store.repository import NewJob, Repository
from worker.tasks.archive import archive
from worker.tasks.begin import Begin
from worker.tasks.follow_up import follow_up
from worker.tasks.submit import submit

#: What the wire brings, or how it fails.
Said = Answer | Exception
PAGE = Answer(404, {"Content-Type": "text/html"}, b"<html>no backend</html>")


def said(code: int = 0, status: int = 200, *, message: str = "", data: Any = None) -> Answer:
    """An answer in Kling's envelope."""
    return Answer(status, {}, json.dumps({"code": code, "message": message, "data": data}).encode())


def task(status: str = "processing") -> Answer:
    """Kling has the task."""
    return said(data={"task_id": "k1", "task_status": status})


MISSING = said(1203, 404, message="task not found")


class Wire:
    """Stands in for `Http`: asks the test what comes back, and remembers when what was asked."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.says: Callable[[str], Said] = lambda _method: task()
        self.calls: list[tuple[str, timedelta]] = []

    def send(self, method: str, *_: object, may: Callable[[], bool] | None = None, **__: object) -> Answer:
        """As `Http` does."""
        if may and not may():
            raise NotSent("it took too long")
        self.calls.append((method, self._clock() - MORNING))
        what = self.says(method)
        if isinstance(what, Exception):
            raise what
        return what

    @property
    def creates(self) -> list[float]:
        """When Kling was asked to create: seconds since the morning."""
        return [moment.total_seconds() for method, moment in self.calls if method == "POST"]


class _Idle:
    """A copier that is never reached."""

    slice_seconds = 10.0

    def into(self, _bucket: str) -> _Idle:
        """As `Copier` does."""
        return self


class _AtMorning(Repository):
    """Rows in a database whose clock is the test's."""

    def __init__(self, engine: Engine, hear: Callable[[datetime], None], clock: Clock) -> None:
        super().__init__(engine, lambda _: hear(clock()))


class Desk:
    """A job called `job`, and one worker that does whatever is due."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.store, self.queue, self.clock = engine, Repository(engine), FakeQueue(), FakeClock()
        self.accounts = Accounts(engine)
        self.time: Clock = self.clock
        self.wire = Wire(self.clock)
        account = parse_account("kling://ACCESS:SECRETSECRETSECRETSECRETSECRETSE@kling.example")
        self.provider = Provider({"default": account}, cast("Http", self.wire), "http://us", b"s" * 40, 30, 1.0, str)
        self.begin = Begin(self.store, Aside(engine), self.queue, self.clock)
        self.pipelines = Pipelines(self.store, Inputs(None, None), {}, None)
        new = NewJob("job", "default", "default", "videos/omni-video", None, None, b"f", b"{}")
        self.store.accept(new, MORNING)

    @property
    def job(self) -> Job:
        """As it is now."""
        job = self.store.get("job")
        assert job is not None
        return job

    @property
    def seconds(self) -> float:
        """Since the morning."""
        return (self.clock() - MORNING).total_seconds()

    def work(self) -> State:
        """One step of the job."""
        rows: Any = {"begin": self.begin, "store": self.store, "queue": self.queue, "clock": self.time}
        if self.job.state is State.COPYING:
            return self.archive()
        if self.job.state is State.ACCEPTED:
            submit("job", accounts=self.accounts, provider=self.provider, pipelines=self.pipelines, **rows)
        else:
            follow_up("job", accounts=self.accounts, provider=self.provider, **rows)
        return self.job.state

    def copying(self) -> Job:
        """The job once its task has succeeded and its links have failed once."""
        self.until(State.RUNNING)
        moved = self.store.move(self.job, Event.TASK_SUCCEEDED, self.clock(), changes={"archive_attempts": 1})
        assert moved is not None
        return moved.job

    def archive(self) -> State:
        """One step of a job that is being copied; its files can't be."""
        rows: Any = {"begin": self.begin, "store": self.store, "queue": self.queue, "clock": self.time}
        idle: Any = _Idle()
        archive("job", provider=self.provider, copier=idle, complaints=idle, **rows)
        return self.job.state

    def until(self, *states: State, days: float = 40) -> State:
        """Do whatever is due, whenever it is, until the job is in one of `states`, or at an end."""
        while self.job.state not in {*states, *ENDS} and self.seconds < days * 86400:
            assert self.job.due_at is not None
            self.clock.at = max(self.clock.at, self.job.due_at)
            self.work()
        return self.job.state

    def agree(self, skew: float = 0) -> None:
        """Go by the database's time, which is `clock` here, on a host whose own clock is wrong by `skew` seconds."""
        told = DatabaseClock(lambda: self.clock() + timedelta(seconds=skew), lambda: self.seconds)
        self.store = _AtMorning(self.engine, told.hear, self.clock)
        self.time = told
        self.begin = Begin(self.store, Aside(self.engine), self.queue, told)

    def beside(self, skew: float) -> Desk:
        """Another worker at the same rows, on a host whose clock is wrong."""
        other = object.__new__(Desk)
        other.__dict__.update(self.__dict__)
        other.agree(skew)
        return other
