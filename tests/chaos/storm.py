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
#: Seconds in which a door takes a job.
_WORK_SECONDS = 30
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


def strike(
    world: World, blows: list[Blow], told: Callable[[Blow], object], *, jobs: int, taken: Callable[[], int]
) -> None:
    """Let each blow fall when its time has come. What should die and is not there yet is waited for, and all that
    follows comes so much later: where starts are slow, the storm lasts longer and is no fiercer.

    A door that has taken no job since it died is not there yet, until it has `taken` all `jobs`.
    """
    began, at_last_death = time.monotonic(), -1

    def has_worked() -> bool:
        return taken() > min(at_last_death, jobs - 1) and world.is_open()

    for blow in blows:
        time.sleep(max(began + blow.at - time.monotonic(), 0))
        due = time.monotonic()
        if blow.target == WIPE:
            with world.redis() as broker:
                broker.flushall()
        else:
            if blow.target == "web":
                wait_until(has_worked, _WORK_SECONDS, pause=0.1)
                at_last_death = taken()
            name = blow.target.removesuffix(_CHILD)
            (world.kill if blow.target == name else world.kill_child)(name)
        began += time.monotonic() - due
        told(blow)
