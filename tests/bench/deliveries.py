"""How long a healthy receiver waits for an event: alone, beside fifty that answer, and beside fifty dead ones.

The Procfile's processes deliver. Half of the dead take a connection and never answer, half do not even take one; each
gets events all the while, and each attempt at one is given 15 s. Rounds alternate, with dead ones that nobody has met.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, func, select, update

from infra.db import make_engine
from infra.queue import Queue, make_celery
from infra.settings import Settings, load
from infra.stack.deployment import Deployment
from infra.stack.process import wait_until
from tests.bench.measure import asked, write
from tests.receiver import Receiver, receiver
from worker import messages
from worker.jobs.machine import Event
from worker.store.repository import NewJob, Repository
from worker.store.tables import deliveries

ROUNDS = asked(3)
EVENTS = 100
DEAD = 50
#: Events a second for the healthy one; each of the dead gets one in four seconds.
_PACE = 6
_WARM = 20


@dataclass(frozen=True)
class Waits:
    """Milliseconds from the event's commit to its arrival at the healthy receiver."""

    p50: float
    p99: float
    worst: float
    dead_attempts: int  #: that were begun meanwhile


class Play:
    """Events that happen, and when they arrive."""

    def __init__(self, engine: Engine, queue: Queue, healthy: Receiver) -> None:
        self._engine = engine
        self._store = Repository(engine)
        self._queue = queue
        self._healthy = healthy
        self._made = 0

    def happen(self, url: str) -> tuple[str, float]:
        """A job fails; the id of its delivery and the moment. Its message leaves as a worker would send it."""
        now = datetime.now(UTC)
        self._made += 1
        new = NewJob(f"bench{self._made}", "default", "default", "videos/omni-video", None, url, b"f", b"{}")
        moved = self._store.move(self._store.accept(new, now)[0], Event.SUBMIT_REFUSED, now)
        assert moved is not None
        at = time.time()
        messages.send(self._queue, map(messages.for_delivery, moved.deliveries))
        return moved.deliveries[0], at

    def round(self, dead: list[str], events: int = EVENTS) -> Waits:
        """So many events for the healthy one at an even pace, and others for the dead between them."""
        before, begun = self._tried(), dict[str, float]()
        start, turn = time.monotonic(), 0
        for number in range(events):
            name, at = self.happen(self._healthy.url)
            begun[name] = at
            while dead and turn < (time.monotonic() - start) * len(dead) / 4:
                self.happen(dead[turn % len(dead)])
                turn += 1
            time.sleep(max(0, start + (number + 1) / _PACE - time.monotonic()))
        assert wait_until(lambda: begun.keys() <= self._arrived().keys(), 120, pause=0.1), "not all arrived"
        arrived = self._arrived()
        waits = sorted((arrived[name] - at) * 1000 for name, at in begun.items())
        tried = self._tried() - before
        return Waits(
            round(statistics.median(waits), 1), round(waits[int(len(waits) * 0.99)], 1), round(waits[-1], 1), tried
        )

    def forget(self) -> None:
        """End what waits for the dead, and wait until no attempt is under way."""
        with self._engine.begin() as connection:
            connection.execute(
                update(deliveries).where(deliveries.c.state == "pending").values(state="given_up", due_at=None)
            )
        assert wait_until(lambda: self._under_way() == 0, 60, pause=0.2)
        self.forget_retries()

    def forget_retries(self) -> None:
        """What attempts that ended just now put off."""
        with self._engine.begin() as connection:
            connection.execute(
                update(deliveries).where(deliveries.c.state == "pending").values(state="given_up", due_at=None)
            )

    def _arrived(self) -> dict[str, float]:
        pairs = zip([one["webhook-id"] for one in list(self._healthy.headers)], self._healthy.times, strict=False)
        first: dict[str, float] = {}
        for name, at in pairs:
            first.setdefault(name, at)
        return first

    def _under_way(self) -> int:
        query = select(func.count()).where(deliveries.c.claimed_until > func.now())
        with self._engine.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def _tried(self) -> int:
        """Attempts that were begun at others than the healthy one."""
        query = select(func.coalesce(func.sum(deliveries.c.attempts), 0)).where(
            ~deliveries.c.url.startswith(self._healthy.url)
        )
        with self._engine.begin() as connection:
            return int(connection.execute(query).scalar_one())


@contextmanager
def _dead(count: int) -> Iterator[list[str]]:
    """Receivers that never answer: half take the connection, the others' queues of connections are full."""
    with ExitStack() as stack:
        urls = []
        for number in range(count):
            silent = number % 2 == 0
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128 if silent else 0))
            port = listening.getsockname()[1]
            for _ in range(0 if silent else 3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    waiting.connect(("127.0.0.1", port))
            urls.append(f"http://127.0.0.1:{port}/hook")
        yield urls


@contextmanager
def _well(count: int) -> Iterator[list[str]]:
    """As many that answer at once: what the same events cost where nobody is dead."""
    with ExitStack() as stack:
        yield [stack.enter_context(receiver()).url for _ in range(count)]


@contextmanager
def _play(folder: Path) -> Iterator[Play]:
    deployment = Deployment(folder, fast=True)
    try:
        with receiver() as healthy:
            settings = _settings(deployment.start())
            engine, app = make_engine(settings, application="bench"), make_celery(settings, "bench")
            try:
                yield Play(engine, Queue(app), healthy)
            finally:
                app.close()
                engine.dispose()
    finally:
        deployment.discard()


def _settings(deployment: Deployment) -> Settings:
    """Rows and messages need neither; they stand for a whole set of settings."""
    return load({**deployment.access.variables({}), "PUBLIC_URL": "http://127.0.0.1", "SECRET_KEY": "0" * 32})


def run() -> None:
    """Measure and show."""
    with tempfile.TemporaryDirectory() as folder, _play(Path(folder)) as play:
        play.round([], _WARM)
        rounds = []
        for _ in range(ROUNDS):
            alone = play.round([])
            with _well(DEAD) as well:
                busy = play.round(well)
            with _dead(DEAD) as dead:
                beside = play.round(dead)
            play.forget()
            rounds.append((alone, busy, beside))
    ratios = {
        f"p99_with_{DEAD}_dead_vs_alone": _ratio([(beside, alone) for alone, _, beside in rounds]),
        f"p99_with_{DEAD}_dead_vs_{DEAD}_well": _ratio([(beside, busy) for _, busy, beside in rounds]),
    }
    table = Table("", "p50 ms", "p99 ms", "worst ms", "tries at others", "", title="until a healthy receiver hears")
    longest = max(one.p99 for pair in rounds for one in pair)
    for pair in rounds:
        for name, one in zip(("alone", f"beside {DEAD} well", f"beside {DEAD} dead"), pair, strict=True):
            cells = [f"{one.p50:.0f}", f"{one.p99:.0f}", f"{one.worst:.0f}", str(one.dead_attempts)]
            table.add_row(name, *cells, "█" * round(one.p99 / longest * 30))
    Console().print(table)
    played = [{"alone": asdict(a), "well": asdict(w), "dead": asdict(d)} for a, w, d in rounds]
    write("deliveries", ratios, {"rounds": played, "receivers": DEAD, "events": EVENTS})


def _ratio(pairs: list[tuple[Waits, Waits]]) -> float:
    return round(statistics.median(one.p99 / other.p99 for one, other in pairs), 2)
