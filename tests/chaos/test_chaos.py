"""A small part of `make chaos`, for every run of the suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.play import play
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all. Its provider is near: a create that a worker took with it is given up sooner than far away."""
    with World(tmp_path_factory.mktemp("chaos"), more={"KLING_TIMEOUT_SECONDS": "5"}) as one:
        yield one


@pytest.mark.parametrize(
    "name",
    [
        "worker killed",
        "SIGTERM to all, twice",
        "Redis wiped",
        "PostgreSQL connections killed",
        "callbacks forged",
        "messages thrice",
        "poison bytes",
    ],
)
def test_every_promise_holds(world: World, name: str) -> None:
    """P1 to P8 under this fault, with few jobs."""
    assert () == play(world, name, SCENARIOS[name], quick=True).broken
