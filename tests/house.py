"""The whole of Reelhook in one process, for tests: the real door on a port, real rows, bucket and emulator.

Only the broker is a fake: a list that the test runs through, so that it decides what is lost, doubled or late.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from celery import Celery
from click.testing import CliRunner, Result
from flask import Flask
from sqlalchemy import Engine, select

from infra.emulator import Emulator
from infra.settings import Settings, load
from infra.stack.servers import Addresses
from tests.conftest import environment_for, patient
from tests.fakes import FakeQueue, OwnHands
from webhook import serve
from webhook.app import create_app
from webhook.cli import main
from webhook.entrance import Entrance
from webhook.wiring import Door
from worker import messages
from worker.jobs.model import ENDS, Job, State
from worker.kling.wire import Task
from worker.ports import Hands
from worker.provider import Provider
from worker.services import Services
from worker.store.tables import deliveries
from worker.tasks.announce import Announcer, Ways
from worker.tasks.archive import Fresh, archive
from worker.tasks.begin import Begin
from worker.tasks.complaints import Complaints
from worker.tasks.follow_up import follow_up
from worker.tasks.request import Came, request
from worker.tasks.submit import submit
from worker.tasks.sweep import sweep

OMNI = "/kling/v1/videos/omni-video"
TEXT = {"model_name": "kling-video-o1", "prompt": "a cat", "mode": "std", "aspect_ratio": "16:9", "duration": "5"}
#: Seconds that a receiver is waited for: one that a busy machine holds up is told once.
_RECEIVER_SECONDS = 60


#: A line of the log.
_LOGGED = re.compile(rb'^\{.*"event": .*"timestamp": .*\}\n', re.MULTILINE)


class TestClock:
    """Real time, and as much more as a test says; or one moment and as much more, once it is stopped."""

    __test__ = False

    def __init__(self) -> None:
        self.ahead = timedelta(0)
        self._stopped: datetime | None = None

    def __call__(self) -> datetime:
        """The time."""
        return (self._stopped or datetime.now(UTC)) + self.ahead

    def stop(self) -> None:
        """From now on no time passes but what a test says."""
        self._stopped = datetime.now(UTC)


class RealTimeProvider(Provider):
    """However far ahead a test's clock is, the emulator's is not: tokens are signed for now."""

    def create(self, job: Job, body: Mapping[str, Any], now: datetime, may: Callable[[], bool]) -> Task:  # noqa: ARG002 - the point of it
        """As `Provider` does."""
        return super().create(job, body, datetime.now(UTC), may)

    def query(self, job: Job, now: datetime) -> tuple[Task, bytes]:  # noqa: ARG002 - as above
        """As `Provider` does."""
        return super().query(job, datetime.now(UTC))


@dataclass
class House:
    """What a test touches."""

    url: str
    key: str
    settings: Settings
    services: Services
    emulator: Emulator
    queue: FakeQueue
    application: Flask
    variables: Mapping[str, str]  #: its environment
    clock: TestClock = field(default_factory=TestClock)

    # --- as a caller --------------------------------------------------------------------------------------------
    def post(self, body: Any, path: str = OMNI, **options: Any) -> requests.Response:
        """Create, as a client of Kling does."""
        return requests.post(self.url + path, json=body, headers=self.headers, timeout=30, **options)

    def get(self, path: str) -> requests.Response:
        """Ask the door."""
        return requests.get(self.url + path, headers=self.headers, timeout=30)

    def submit(self, **changes: Any) -> str:
        """The id of a new text-to-video job."""
        answer = self.post({**TEXT, **changes})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["task_id"])

    @property
    def headers(self) -> dict[str, str]:
        """A caller's credentials."""
        return {"Authorization": f"Bearer {self.key}"}

    def typed(self, *words: str, **changes: str) -> Result:
        """What `reelhook WORDS` prints. `changes`: of its environment.

        It runs in this process with stdout taken, and the door may log an answer a moment after it was given: that is
        none of the command's output.
        """
        result = CliRunner().invoke(main, words, env={**self.variables, "COLUMNS": "250", **changes})
        result.output_bytes = _LOGGED.sub(b"", result.output_bytes)
        return result

    # --- as the workers -----------------------------------------------------------------------------------------
    def run(self, message: tuple[str, str, tuple[str, ...]]) -> None:
        """Do one message's work, as a worker would."""
        s, clock, (task, _, args) = self.services, self.clock, message
        begin = Begin(s.store, s.aside, self.queue, clock)
        rows: Any = {"begin": begin, "store": s.store, "queue": self.queue, "clock": clock}

        def copy(which: str | Fresh) -> None:
            fresh = which if isinstance(which, Fresh) else None
            job_id = which.job.id if isinstance(which, Fresh) else which
            complaints = Complaints(s.runs, s.attention, self.queue, clock)
            archive(job_id, fresh=fresh, provider=s.provider, copier=s.copier, complaints=complaints, **rows)

        verbs: dict[str, Callable[..., None]] = {
            messages.SUBMIT: lambda job: submit(
                job, accounts=s.accounts, provider=s.provider, pipelines=s.pipelines, **rows
            ),
            messages.FOLLOW_UP: lambda job: follow_up(
                job, accounts=s.accounts, provider=s.provider, onward=copy, **rows
            ),
            messages.ARCHIVE: copy,
            messages.ANNOUNCE: self.announcer().announce,
            messages.SWEEP: self.sweep,
        }
        verbs[task](*args)

    def message(self, *args: Any, message: str = "", since: datetime | None = None, **kwargs: Any) -> None:
        """Take a message of another app, as a worker would; one of its own unless it has an id."""
        s, came = self.services, Came(args, kwargs, message or str(uuid.uuid4()), since)
        rest: Any = {"aside": s.aside, "queue": self.queue, "clock": self.clock}
        request(came, acceptor=s.acceptor, keys=s.keys, rates=s.rates, **rest)

    def announcer(self, hands: Hands | None = None) -> Announcer:
        """What tells receivers; in the test's own thread unless there are other hands."""
        s, secret = self.services, self.settings.secret
        ways = Ways(s.guarded, self.queue, hands or OwnHands(), s.link, secret, _RECEIVER_SECONDS)
        return Announcer(s.store, s.outbox, s.subscriptions, s.attention, s.aside, ways, self.clock)

    def drain(self) -> None:
        """Do the work of every message, and of those that follow from it."""
        while self.queue.sent:
            self.run(self.queue.sent.pop(0))

    def sweep(self) -> None:
        """Find what is due, as beat has it done."""
        s = self.services
        rows: Any = {"store": s.store, "inbox": s.inbox, "outbox": s.outbox, "accounts": s.accounts}
        sweep(**rows, concurrency=s.provider.concurrency, queue=self.queue, clock=self.clock)

    def until_end(self, *jobs: str, seconds: float = 60, hurry: float = 0) -> list[State]:
        """Sweep and work until `jobs` have ended and all is told. `hurry`: seconds that the clock gains each round."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.sweep()
            self.drain()
            states = [self.state(job) for job in jobs]
            if set(states) <= ENDS and not self.untold():
                return states
            self.clock.ahead += timedelta(seconds=hurry)
            time.sleep(0.02)  # the emulator works in real time
        raise AssertionError(f"not at an end after {seconds} s: {[self.timeline(job) for job in jobs]}")

    # --- as a judge ---------------------------------------------------------------------------------------------
    def state(self, job_id: str) -> State:
        """Where a job stands."""
        job = self.services.store.get(job_id)
        assert job is not None
        return job.state

    def timeline(self, job_id: str) -> list[str]:
        """What happened to a job."""
        steps = [event["type"].removeprefix("job.") for event in self.services.store.timeline(job_id)]
        return [step for step in steps if step in {*State}]

    def untold(self) -> int:
        """How many deliveries wait."""
        with self.services.engine.connect() as connection:
            query = select(deliveries.c.id).where(deliveries.c.state == "pending")
            return len(connection.execute(query).all())

    def creates(self) -> dict[str, int]:
        """How often Kling was asked to create, by external id."""
        state = requests.get(f"{self.emulator.url}/_emulator/state", timeout=30).json()
        creates: dict[str, int] = state["creates"]
        return creates

    def fault(self, on: str, name: str, times: int = 1) -> None:
        """Let the emulator fail next time."""
        orders = [{"on": on, "fault": name, "times": times}]
        requests.post(f"{self.emulator.url}/_emulator/faults", json=orders, timeout=30).raise_for_status()

    def objects(self) -> set[str]:
        """The keys in the bucket."""
        client = self.services.bucket._client
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.settings.s3_bucket)
        return {item["Key"] for page in pages for item in page.get("Contents", [])}

    def uploads(self) -> int:
        """How many multipart uploads lie unfinished."""
        answer = self.services.bucket._client.list_multipart_uploads(Bucket=self.settings.s3_bucket)
        return len(answer.get("Uploads", []))


class _PromptServer(serve.GracefulServer):
    """Looks more often than ten times a second whether it shall end: hundreds of tests wait for that."""

    async def main_loop(self) -> None:
        """Until somebody says so."""
        while not self.should_exit:  # noqa: ASYNC110 - whoever ends it does so from another thread
            await asyncio.sleep(0.005)


@contextmanager
def house(addresses: Addresses, engine: Engine, emulator: Emulator, **variables: str) -> Iterator[House]:
    """A house with an open door. `variables` change its settings."""
    requests.delete(f"{emulator.url}/_emulator/faults", timeout=30).raise_for_status()
    config = emulator.config
    kling_url = emulator.url.replace("://", f"://{config.access_key}:{config.secret_key}@")
    values = {**environment_for(addresses, kling_url=kling_url, public_url="http://127.0.0.1:1"), **variables}
    application = create_app(load(values))
    listening = socket.create_server(("127.0.0.1", 0))
    settings = load({**values, "PUBLIC_URL": f"http://127.0.0.1:{listening.getsockname()[1]}"})
    queue = FakeQueue()
    door = _hand_over(application, settings, engine, queue)
    entrance = Entrance(application, settings)
    server = _PromptServer(serve.server(settings, entrance).config)
    services = Services(settings, Celery("unused", set_as_current=False))
    patient(services.engine)
    services.__dict__["provider"] = RealTimeProvider(**vars(services.provider))
    door.__dict__["bucket"] = services.bucket  # its client costs much CPU: no request has to wait for that
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    key = values["REELHOOK_API_KEY"]
    door.keys.ensure("default", key, datetime.now(UTC))
    try:
        yield House(settings.public_url, key, settings, services, emulator, queue, application, values)
    finally:
        server.should_exit = True
        thread.join()  # not for a while only: what it works with is closed next
        entrance.close()
        door.arrivals_engine.dispose()
        services.engine.dispose()


def _hand_over(application: Flask, settings: Settings, engine: Engine, queue: FakeQueue) -> Door:
    """Give the door the test's rows and messages, where production makes its own."""
    door = Door(settings)
    door.__dict__.update(engine=engine, queue=queue)  # what cached_property would keep
    application.extensions["reelhook"] = lambda: door
    return door
