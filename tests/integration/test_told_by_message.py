"""What other apps are told by a task that they named, while the broker loses what it had: `worker.tasks.watch`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redis import Redis
from sqlalchemy import text

from infra.mark import KEY, Look
from infra.queue import Queue
from infra.stack.servers import Servers
from tests.fakes import FakeQueue
from tests.house import House
from tests.integration.broker_kit import PATIENCE, patient_celery
from worker.jobs.machine import Event
from worker.store.repository import NewJob
from worker.tasks.watch import QUIET, watch

QUEUE = "shop-of-tests"
_NUMBERS = itertools.count()


@dataclass
class Both(FakeQueue):
    """The house's own messages stay a list of the test's; what is for others goes to a real broker."""

    real: Queue = field(kw_only=True)

    def send(self, task: str, queue_name: str, args: Sequence[Any], task_id: str | None = None) -> bool:
        """Whether it was taken."""
        if queue_name == QUEUE:
            return self.real.send(task, queue_name, args, task_id)
        return super().send(task, queue_name, args, task_id)


@dataclass
class Shop:
    """An app on the broker whose worker comes and goes."""

    home: House
    queue: Queue
    redis: Redis
    life: int = 0  #: starts of the broker, which the suite's own does not make for a test
    thrown: int = 0  #: queues that it threw away
    kept: dict[Any, Any] = field(default_factory=dict)  #: what it wrote down

    def tell(self, name: str) -> str:
        """End a job of which it is told; its delivery."""
        new = NewJob(name, "default", "default", "videos/omni-video", None, None, b"f", b"{}")
        store = self.home.services.store
        job = store.accept(replace(new, on_done=f"celery://{QUEUE}/shop.done"), self.home.clock()).job
        moved = store.move(job, Event.SUBMIT_REFUSED, self.home.clock())
        assert moved is not None
        self.home.announcer().announce(moved.deliveries[0])
        return moved.deliveries[0]

    def look(self, ahead: float = 0) -> None:
        """Let time pass, look at the broker, and tell what is to be told again."""
        self.home.clock.ahead += timedelta(seconds=ahead)
        self.watch()
        self.home.sweep()
        self.home.drain()

    def watch(self) -> None:
        """Look, and write down what is to be told again."""
        watch(untaken=self.home.services.untaken, queue=Hurt(self), clock=self.home.clock)

    def work(self) -> list[str]:
        """Its worker takes what lies there; the ids of its tasks."""
        took = []
        while message := self.redis.rpop(QUEUE):
            took.append(json.loads(cast("bytes", message))["headers"]["id"])
        return took

    def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """What the database says."""
        with self.home.services.engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(query), values)]

    def states(self, ids: list[str]) -> list[tuple[Any, ...]]:
        """Of each delivery, whether we know that it was taken."""
        return self.rows(
            "select id, taken_at is not null from deliveries where id = any(:ids) order by begun_at", ids=ids
        )

    # --- what befalls the broker ----------------------------------------------------------------------------------
    def begin(self) -> None:
        """An empty broker that was looked at."""
        self.redis.flushall()
        self.life, self.thrown, self.kept = self.life + 1, 0, {}
        self.rows("update deliveries set taken_at = now() where taken_at is null returning 1")
        self.look()

    def keep(self) -> None:
        """It writes down what it has."""
        self.kept = {key: self.redis.dump(key) for key in self.redis.scan_iter()}

    def back(self) -> None:
        """It is started with what it wrote down last."""
        self.redis.flushall()
        self.life += 1
        for key, value in self.kept.items():
            self.redis.restore(key, 0, value)

    def restart(self) -> None:
        """It is started anew, with all that it had."""
        self.life += 1

    def lose(self, key: str) -> None:
        """It has no memory left, and throws a key away."""
        self.thrown += self.redis.delete(key)


@dataclass
class Hurt:
    """The shop's broker, as it would speak of itself after what befell it here."""

    shop: Shop

    def look(self, queues: Sequence[str], marks: Sequence[str]) -> Look | None:
        """What it holds."""
        seen = self.shop.queue.look(queues, marks)
        life, thrown = f"life {self.shop.life}", self.shop.thrown
        return seen and replace(seen, server=life, evicted=thrown, evicts=thrown > 0)

    def mark(self, name: str, at: datetime, *, there: bool) -> bool:
        """Leave a mark."""
        return self.shop.queue.mark(name, at, there=there)


@contextmanager
def opened(home: House, servers: Servers) -> Iterator[Shop]:
    """A shop on the broker of the suite, which is empty, as is its memory."""
    celery = patient_celery(home.settings)
    with Redis.from_url(servers.addresses.redis_url, socket_timeout=PATIENCE) as redis:
        redis.flushall()
        home.queue = Both(real=Queue(celery))
        yield Shop(home, home.queue.real, redis)
        redis.flushall()
    celery.close()


@pytest.fixture
def shop(home: House, servers: Servers) -> Iterator[Shop]:
    """A shop whose broker was looked at."""
    with opened(home, servers) as one:
        one.look()
        yield one


def test_a_wipe_before_the_app_took_it_is_told_again(shop: Shop) -> None:
    """P3: FLUSHALL while the app's worker is away: each event comes again, once, under the same id, which is the task's
    own; its attempts say why.
    """
    ids = [shop.tell(name) for name in ("a", "b", "c")]
    assert 3 == shop.redis.llen(QUEUE)
    shop.redis.flushall()
    for _ in range(3):
        shop.look(3)

    assert ids == shop.work()
    assert [(1, None), (2, "the broker has lost what it had"), (3, None)] == shop.rows(
        "select number, error from attempts where delivery_id = :id order by number", id=ids[0]
    )
    shop.look(3)
    assert [] == shop.work()


def test_what_the_app_took_is_not_told_again(shop: Shop) -> None:
    """Of a queue that holds two messages all but the last two were taken, and nothing of one that is empty is missing:
    a wipe later concerns only what may have been lost by it.
    """
    ids = []
    for name in ("a", "b", "c"):
        ids.append(shop.tell(name))
        shop.home.clock.ahead += timedelta(seconds=30)
    shop.redis.rpop(QUEUE)
    shop.look(QUIET.total_seconds() + 1)
    assert [(ids[0], True), (ids[1], False), (ids[2], False)] == shop.states(ids)
    shop.redis.flushall()
    shop.look(3)
    shop.look(3)
    assert ids[1:] == shop.work()
    shop.look(QUIET.total_seconds() + 60)
    shop.redis.flushall()
    shop.look(3)
    shop.look(3)

    assert [] == shop.work()


def test_what_comes_between_the_count_and_the_rows_is_not_counted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message lies in the queue, for long, and another one arrives just after that was asked: both lie there."""
    ids, look = [shop.tell("a")], shop.queue.look

    def asked(queues: Sequence[str], marks: Sequence[str]) -> Look | None:
        seen = look(queues, marks)
        ids.append(shop.tell("b"))
        return seen

    with monkeypatch.context() as patched:
        patched.setattr(shop.queue, "look", asked)
        shop.look(QUIET.total_seconds() + 60)

    assert [(ids[0], False), (ids[1], False)] == shop.states(ids)


def test_a_queue_that_is_gone_is_not_missed_for_what_is_old(shop: Shop) -> None:
    """RabbitMQ says that there is no such queue: what was told there lately is told again, what is too old for that is
    let be, and the next look finds nothing lost.
    """
    ids = [shop.tell("old"), shop.tell("new")]
    shop.rows("update deliveries set begun_at = begun_at - interval '97 hours' where id = :id returning 1", id=ids[0])
    real = shop.queue.look

    def gone(queues: Sequence[str], marks: Sequence[str]) -> Look | None:
        seen = real(queues, marks)
        return seen and replace(seen, waiting=dict.fromkeys(queues))

    shop.queue.look = gone  # type: ignore[method-assign]  # the fault
    shop.watch()

    assert [] == shop.home.services.untaken.watched().queues
    assert [(ids[0], "delivered"), (ids[1], "pending")] == shop.rows(
        "select id, state from deliveries where id = any(:ids) order by begun_at", ids=ids
    )


def test_what_is_being_sent_when_the_broker_is_wiped_is_told_again(shop: Shop) -> None:
    """Its message is gone before its row says that it was delivered: that word comes too late."""
    send = shop.queue.send

    def wiped(task: str, queue_name: str, args: Sequence[Any], task_id: str | None = None) -> bool:
        taken = send(task, queue_name, args, task_id)
        shop.redis.flushall()
        shop.watch()
        return taken

    shop.queue.send = wiped  # type: ignore[method-assign]  # the fault
    delivery = shop.tell("a")
    shop.queue.send = send  # type: ignore[method-assign]  # its end
    shop.look(3)

    assert [delivery] == shop.work()


def test_what_a_broker_throws_away_again_and_again_comes_ever_more_rarely(shop: Shop) -> None:
    """A Redis that evicts others' keys all the time may have evicted this queue, too: in an hour the app hears of it
    six times, and not at each look.
    """
    delivery = shop.tell("a")
    heard: list[str] = []
    for _ in range(40):
        heard += shop.work()
        shop.thrown += 1
        shop.look(90)

    assert [delivery] * 6 == heard


def test_the_first_look_finds_nothing_lost(home: House, servers: Servers) -> None:
    """A version that begins to look has old deliveries, and a broker without a mark: that is no loss."""
    with opened(home, servers) as shop:
        delivery = shop.tell("a")
        shop.work()
        shop.look()
        shop.look(3)

        assert [(delivery, False)] == shop.states([delivery])
        assert shop.redis.exists(KEY)


_STEPS = st.lists(
    st.sampled_from(["tell", "tell", "work", "look", "look", "later", "wipe", "keep", "back", "restart", "lose"]),
    max_size=14,
)


@given(steps=_STEPS)
@settings(max_examples=12)
@example(steps=["tell", "wipe", "look", "wipe", "look", "tell", "wipe"])
@example(steps=["keep", "tell", "look", "back"])
@example(steps=["tell", "later", "keep", "tell", "back", "look", "lose"])
def test_whatever_befalls_the_broker_each_event_is_heard(shop: Shop, steps: list[str]) -> None:
    """P3: wiped, brought back with what it had earlier, started anew without its last second, or throwing queues away,
    in any order: when the app's worker has come back for good, it has heard all, each job under one id.
    """
    shop.begin()
    told: list[str] = []
    heard: list[str] = []
    ways: dict[str, Callable[[], object]] = {
        "tell": lambda: told.append(shop.tell(f"job-{next(_NUMBERS)}")),
        "work": lambda: heard.extend(shop.work()),
        "look": lambda: shop.look(3),
        "later": lambda: shop.look(QUIET.total_seconds() + 1),
        "wipe": shop.redis.flushall,
        "keep": shop.keep,
        "back": shop.back,
        "restart": shop.restart,
        "lose": lambda: shop.lose(QUEUE),
    }
    for step in [*steps, "look", *["later", "look", "work"] * 4]:
        ways[step]()

    assert {*told} == {*heard}


def test_a_broker_that_was_away_is_tried_again_within_a_minute(shop: Shop) -> None:
    """It may be back at any time: no receiver's schedule of days is used up."""
    shop.queue.send = lambda *_: False  # type: ignore[method-assign]  # the fault
    delivery = shop.tell("a")
    for _ in range(12):
        shop.look(72)
    del shop.queue.send
    shop.look(72)

    assert [delivery] == shop.work()
