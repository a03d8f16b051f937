"""A storm: which process dies when, when the broker is wiped. Known beforehand, so that two can stand in the same."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.stack.process import wait_until
from tests.chaos.world import World

WIPE = "broker"
_CHILD = " child"
#: Who dies, in turn.
_TARGETS = ("worker", "web", "worker.2 child", "beat", "worker.2", "web", "worker child", "beat", "worker", "web")


@dataclass(frozen=True)
class Blow:
    """One fault."""

    at: float  #: seconds from the beginning
    target: str  #: a process, ` child` after it for one of its pool, or `WIPE`


def plan(kills: int, wipes: int, seconds: float, *, seed: int = 0) -> list[Blow]:
    """So many deaths and wipes, spread over so many seconds."""
    chance = random.Random(seed)  # noqa: S311 - it spreads faults over time, and guards nothing
    deaths = [
        Blow((number + chance.random()) * seconds / kills, _TARGETS[number % len(_TARGETS)]) for number in range(kills)
    ]
    wiped = [Blow((number + chance.random()) * seconds / wipes, WIPE) for number in range(wipes)]
    return sorted(deaths + wiped, key=lambda blow: blow.at)


def strike(world: World, blows: list[Blow], told: Callable[[Blow], object]) -> None:
    """Let each blow fall when its time has come. What should die and is not there yet, or not open, is waited for."""
    began = time.monotonic()
    for blow in blows:
        time.sleep(max(began + blow.at - time.monotonic(), 0))
        if blow.target == WIPE:
            with world.redis() as broker:
                broker.flushall()
        else:
            name = blow.target.removesuffix(_CHILD)
            if name == "web":
                wait_until(world.is_open, 30, pause=0.1)
            (world.kill if blow.target == name else world.kill_child)(name)
        told(blow)
