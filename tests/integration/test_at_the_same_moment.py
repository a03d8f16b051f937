"""The laws of `test_any_order` where threads race for the same rows, each with a connection of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from sqlalchemy import Engine

from infra.db import make_engine
from infra.settings import Settings
from tests.conftest import emptied
from tests.fakes import MORNING, race
from tests.integration.order_kit import SPOILT, Process, World
from worker import messages
from worker.jobs.machine import Event
from worker.jobs.model import ENDS
from worker.store.inbox import Arrival
from worker.store.repository import NewJob

NAMES = ("a", "b", "c", "d")
WAVES = 25
#: By so many seconds their clocks are wrong.
SKEWS = (0, -300, 300, 0)


@pytest.fixture
def world(migrated: Engine, settings: Settings) -> Iterator[World]:
    """Four jobs for two slots, and connections for all who race."""
    emptied(migrated)
    engine = make_engine(settings, application="tests", connections=16)
    world = World(engine)
    store = Process(world, 0).store
    for name in NAMES:
        new = NewJob(name, "default", "default", "videos/omni-video", None, "https://app/hook", b"f", b"{}")
        store.accept(new, MORNING)
    yield world
    engine.dispose()


def called_back(world: World, word: str) -> None:
    """Callbacks for every job, in one write."""
    world.inbox.put([Arrival(name, word.encode(), "understood", word, world.clock()) for name in NAMES])


def cancelled(process: Process, name: str) -> None:
    """Somebody asks for the end of a job that was not submitted."""
    job = process.store.get(name)
    if job and not job.submissions:
        process.store.move(job, Event.CANCEL_ASKED, process.time())


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_at_the_same_moment(world: World, seed: int) -> None:
    """P1, P3, P4, slots: submits and follow-ups twice, callbacks, sweeps, an operator and a canceller, all at once."""
    chance = random.Random(seed)  # noqa: S311 - the same order each time
    workers = [Process(world, skew) for skew in SKEWS]
    for wave in range(WAVES):
        name = NAMES[wave % len(NAMES)]
        twice = [(messages.SUBMIT, "submit", (name,)), (messages.FOLLOW_UP, "follow_up", (name,))] * 2
        waiting = [world.queue.sent.pop() for _ in range(min(4, len(world.queue.sent)))]
        acts: list[Callable[[], object]] = [
            *(partial(chance.choice(workers).do, message) for message in (*twice, *waiting)),
            partial(called_back, world, chance.choice(["processing", "succeed"])),
            *(worker.sweep for worker in workers[:2]),
            partial(world.accounts.resume, "default", world.clock()),
        ]
        if wave % 8 == 7:
            acts.append(partial(cancelled, workers[0], name))
        world.kling.spoilt = chance.choice([*SPOILT, None, None])
        chance.shuffle(acts)
        race(*acts)
        world.states()
        for open_ in world.kling.open():
            world.kling.tasks[open_].status = chance.choice(["processing", "succeed", "failed"])
        world.clock.advance(chance.choice([0, 1, 30, 130]))

    assert {*ended(world, workers).values()} <= ENDS


def ended(world: World, workers: list[Process]) -> dict[str, object]:
    """Where the jobs stand once nothing goes wrong any more."""
    world.kling.spoilt = None
    for number in range(150):
        states = world.states()
        if {*states.values()} <= ENDS:
            return {**states}
        for open_ in world.kling.open():
            world.kling.tasks[open_].status = "succeed"
        workers[number % 2].sweep()
        while world.queue.sent:
            workers[number % 2].do(world.queue.sent.pop(0))
        world.clock.advance(20 + 2 * number)
    return {**world.states()}
