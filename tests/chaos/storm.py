"""A storm: which process dies when, when the broker is wiped. Known beforehand, so that two can stand in the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from infra.stack.process import wait_until
from tests.chaos.world import World

WIPE = "broker"
_CHILD = " child"
#: Who dies, in turn.
_TARGETS = ("worker", "web", "worker.2 child", "beat", "worker.2", "web", "worker child", "beat", "worker", "web")
#: Seconds without a job after which none will come.
_PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Blow:
    """One fault."""

    after: int  #: jobs that were taken before
    target: str  #: a process, ` child` after it for one of its pool, or `WIPE`


def plan(kills: int, wipes: int, jobs: int, *, seed: int = 0) -> list[Blow]:
    """So many deaths and wipes, spread over so many jobs."""
    chance = random.Random(seed)  # noqa: S311 - it spreads faults over the jobs, and guards nothing
    deaths = [
        Blow(int((number + chance.random()) * jobs / kills), _TARGETS[number % len(_TARGETS)])
        for number in range(kills)
    ]
    wiped = [Blow(int((number + chance.random()) * jobs / wipes), WIPE) for number in range(wipes)]
    return sorted(deaths + wiped, key=lambda blow: blow.after)


def strike(world: World, blows: list[Blow], told: Callable[[Blow], object], taken: Callable[[], int]) -> None:
    """Let each blow fall when the door has `taken` so many jobs: where all is slow the storm lasts longer, so that no
    job comes when it is over. What should die and is not there yet, or not open, is waited for.
    """
    for blow in blows:
        _await(blow.after, taken)
        _fall(world, blow.target)
        told(blow)


def _await(jobs: int, taken: Callable[[], int]) -> None:
    while (now := taken()) < jobs:
        assert wait_until(lambda now=now: taken() > now, _PATIENCE_SECONDS), f"no job came in after {now}"  # type: ignore[misc]  # mypy can't infer a lambda with defaults


def _fall(world: World, target: str) -> None:
    if target == WIPE:
        with world.redis() as broker:
            broker.flushall()
        return
    if target == "web":
        wait_until(world.is_open, 30, pause=0.1)
    name = target.removesuffix(_CHILD)
    (world.kill if target == name else world.kill_child)(name)
