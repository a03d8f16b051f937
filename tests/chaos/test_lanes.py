"""The lanes of `make chaos`: what becomes of them when all goes well, when one dies, and when nobody wants them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from infra.stack.deployment import PROJECT
from infra.stack.process import wait_until
from tests.chaos.lanes import LaneBroke, side_by_side

_SECONDS = 60
_ALONE = """
from functools import partial
from pathlib import Path
from tests.chaos.lanes import side_by_side
from tests.chaos.test_lanes import player
list(side_by_side(["a", "b"], 2, partial(player, Path({folder!r}), {{"a": "for ever", "b": "for ever"}})))
"""


def player(folder: Path, meets: dict[str, str], names: Iterator[str]) -> Generator[str]:
    """Each name becomes a file, and waits for the one that it meets. The lane itself is one until it has cleaned up."""
    lane = folder / f"lane {os.getpid()}"
    try:
        lane.touch()
        for name in names:
            (folder / name).touch()
            assert name not in meets or wait_until((folder / meets[name]).exists, _SECONDS)
            if name == "dies":
                lane.unlink()
                os._exit(1)
            yield name
    finally:
        lane.unlink(missing_ok=True)


def lanes_in(folder: Path) -> list[Path]:
    """Lanes that run, or have not cleaned up."""
    return [*folder.glob("lane *")]


def test_two_at_a_time_and_each_once(tmp_path: Path) -> None:
    """Two that wait for each other are both played, so they ran at once; the third follows, and no lane stays."""
    play = partial(player, tmp_path, {"a": "b", "b": "a"})

    assert ["a", "b", "c"] == sorted(side_by_side(["a", "b", "c"], 2, play))
    assert [] == lanes_in(tmp_path)


def test_one_lane_plays_one_after_another(tmp_path: Path) -> None:
    """With one lane the order is the given one."""
    assert ["b", "a", "c"] == [*side_by_side(["b", "a", "c"], 1, partial(player, tmp_path, {}))]


def test_a_lane_that_dies_ends_the_others(tmp_path: Path) -> None:
    """Whoever asked is told, and the lane beside it has been interrupted in its work and has cleaned up."""
    play = partial(player, tmp_path, {"dies": "works", "works": "for ever"})
    with pytest.raises(LaneBroke):
        list(side_by_side(["dies", "works"], 2, play))

    assert [] == lanes_in(tmp_path)


def test_whoever_leaves_early_ends_the_lanes(tmp_path: Path) -> None:
    """As after Ctrl-C: what is under way is interrupted, cleans up, and is gone when the block is left."""
    play = partial(player, tmp_path, {"a": "b", "b": "for ever"})
    with closing(side_by_side(["a", "b"], 2, play)) as results:
        first = next(results)

    assert ("a", []) == (first, lanes_in(tmp_path))


def test_lanes_end_with_whoever_started_them(tmp_path: Path) -> None:
    """A SIGKILL leaves nobody who could end them: they see it themselves, and clean up."""
    words = [sys.executable, "-c", _ALONE.format(folder=str(tmp_path))]
    with subprocess.Popen(words, cwd=PROJECT) as starter:  # noqa: S603 - our own words
        begun = wait_until(lambda: len(lanes_in(tmp_path)) == 2, _SECONDS)
        starter.kill()
    assert wait_until(lambda: not lanes_in(tmp_path), _SECONDS)

    assert begun
