"""Work side by side: each lane is a process that is handed one name after another, and tells what became of each.

A scenario changes its process (module globals, signals, threads), and nothing of that may reach another.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from infra.stack.interrupt import Interrupted, one_interrupt

#: Seconds in which a lane that was told to end must have cleaned up.
_END_SECONDS = 60
#: A lane begins as a new interpreter: it shares nothing, and no thread of whoever starts it is copied.
_FRESH = multiprocessing.get_context("spawn")

Result = TypeVar("Result")
#: Plays each name when it is asked for the next result, and cleans up when it is closed. Has to be picklable.
Player = Callable[[Iterator[str]], Generator[Result]]


class LaneBroke(Exception):
    """A lane ended before it was told to. What it died of, it has written to the standard error."""


def side_by_side(names: Iterable[str], lanes: int, player: Player[Result]) -> Generator[Result]:
    """What becomes of each name, as it comes. They are begun in their order, so many at once as there are lanes.

    Closing the iterator ends the lanes, too. Raises `LaneBroke`, and then none runs any more.
    """
    waiting = deque(names)
    with _lanes(min(lanes, len(waiting)), player) as working:
        while working:
            for line in wait([*working]):
                assert isinstance(line, Connection)
                try:
                    results: list[Result] = line.recv()
                except EOFError:
                    raise LaneBroke(f"{working[line].name} ended before its time") from None
                if waiting:
                    line.send(waiting.popleft())
                else:
                    line.send(None)
                    del working[line]
                yield from results


@contextmanager
def _lanes(count: int, player: Player[Any]) -> Iterator[dict[Connection, SpawnProcess]]:
    """The lanes by the lines to them. Who takes one out, has told it to end; what is left there is ended at the end."""
    lanes: list[SpawnProcess] = []
    working: dict[Connection, SpawnProcess] = {}
    try:
        for number in range(1, count + 1):
            ours, its = _FRESH.Pipe()
            lane = _FRESH.Process(target=_lane, args=(its, player), name=f"lane {number}")
            lane.start()
            its.close()
            lanes.append(lane)
            working[ours] = lane
        yield working
    finally:
        for lane in working.values():
            lane.terminate()
        for lane in lanes:
            lane.join(_END_SECONDS)
            lane.kill()  # what it started does not outlive it
            lane.join()


# --- in the lane ------------------------------------------------------------------------------------------------------
def _lane(line: Connection, player: Player[Any]) -> None:
    """Say what was done so far (nothing), hear the next name, do it, and so on until there is none, or nobody."""
    os.setsid()  # Ctrl-C is for whoever started the lanes: he ends them, each once, and none that ends already
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(Interrupted, EOFError, ConnectionError), one_interrupt():
        line.send([])
        with closing(player(iter(line.recv, None))) as results:
            for result in results:
                line.send([result])


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
