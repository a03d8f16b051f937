"""Processes die: killed, asked to go, replaced."""

from __future__ import annotations

import random
import signal
import time
from typing import Any

from tests.chaos.deploy import deployed
from tests.chaos.world import World, until


def _varied(least: float, most: float) -> float:
    return random.uniform(least, most)  # noqa: S311 - it spreads faults over time, and guards nothing


def calm(world: World, jobs: int, _rounds: int) -> None:
    """Nothing fails: what the others are compared with."""
    world.submit(jobs, every=0.05)


def worker_killed(world: World, jobs: int, rounds: int) -> None:
    """SIGKILL the worker, its main process or one of its pool, again and again under load."""
    with world.load(jobs, every=0.3):
        for turn in range(rounds):
            time.sleep(_varied(1.5, 3.5))
            pid = world.deployment.pids.get("worker")
            if turn % 3 == 2:
                world.kill_child("worker")
            else:
                world.kill("worker")
                world.await_new("worker", pid)


def web_killed(world: World, jobs: int, rounds: int) -> None:
    """SIGKILL the door while callbacks pour in: the tasks of many jobs end together, each calling twice."""
    with world.load(jobs, every=0.05, prompt="a cat [fate: callback_twice]"):
        for _ in range(rounds):
            time.sleep(_varied(0.8, 2))
            pid = world.deployment.pids.get("web")
            world.kill("web")
            world.await_new("web", pid)


def web_child_killed(world: World, jobs: int, rounds: int) -> None:
    """SIGKILL one of the processes that serve behind the door's supervisor."""
    with world.load(jobs, every=0.1, prompt="a cat [fate: callback_twice]"):
        for _ in range(rounds):
            time.sleep(1)
            world.kill_child("web")


def beat_killed(world: World, jobs: int, rounds: int) -> None:
    """SIGKILL beat while half of the jobs get no callback, so that only sweeps move them."""
    with world.load(jobs, every=0.1, prompt="a cat [fate: no_callback]"):
        for _ in range(rounds):
            pid = world.deployment.pids.get("beat")
            world.kill("beat")
            world.await_new("beat", pid)
            time.sleep(2)


def terminated(world: World, jobs: int, rounds: int) -> None:
    """SIGTERM to every process of every group at once, while a file is slowly copied."""
    _terminated(world, jobs, rounds, times=1)


def terminated_twice(world: World, jobs: int, rounds: int) -> None:
    """The same, and a second SIGTERM one second later."""
    _terminated(world, jobs, rounds, times=2)


def terminated_one(world: World, jobs: int, rounds: int) -> None:
    """SIGTERM to the first process of each group only, as a container's platform does."""
    _terminated(world, jobs, rounds, everybody=False)


def interrupted(world: World, jobs: int, rounds: int) -> None:
    """SIGINT to the first process of each group, as Fly does."""
    _terminated(world, jobs, rounds, everybody=False, number=signal.SIGINT)


def _terminated(world: World, jobs: int, rounds: int, **how: Any) -> None:
    world.fault("cdn", "slow=60000", 4)
    with world.load(jobs, every=0.3):
        for _ in range(rounds):
            time.sleep(3)
            world.terminate_all(**how)
            world.await_door()


def deploys(world: World, jobs: int, rounds: int) -> None:
    """A deploy every few seconds: the next version brings the database on and comes up, everything old is asked to
    stop, and comes back beside a database that is further than it knows.
    """
    with world.load(jobs, every=0.5):
        for _ in range(rounds):
            with deployed(world):
                time.sleep(4)
                world.terminate_all()
                world.await_door()


def two_versions(world: World, jobs: int, _rounds: int) -> None:
    """This version and the next one, whose database is a step further, share the rows, the broker and the callers."""
    twice = "a cat [fate: callback_twice]"
    with world.load(jobs // 2, every=0.3, prompt=twice) as load, deployed(world) as other:
        until(lambda: len(other.pids) == 3)
        load.join()
        world.submit(jobs - jobs // 2, every=0.1, prompt=twice)
        world.settle(60)
