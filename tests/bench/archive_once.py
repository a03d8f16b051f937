"""One way to copy, once, in a process of its own: reads an order, prints its cost.

The archive's copies are shared by four children, as many as a worker has by default, which were forked off as its
are; with as many files under way in all as the other ways have, which are threads of one process or processes. What
the children used is added up.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from infra.heap import share
from tests.bench import cpu
from tests.bench.archive_ways import WAYS, Load, Way

_CHILDREN = 4
#: Seconds until all children are warm.
_PATIENCE = 60
_FORKED = {"ours", "pictures", "least"}

Cost = dict[str, float]


def peak_mib() -> float:
    """The most memory this process has had so far. The kernel's own figure starts with the parent's, before exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _ready(made: Way, load: Load) -> Callable[[int], None]:
    """The way, warmed up by one small file."""
    copy = made(load)
    warm = Load(**{**vars(load), "url": load.url.replace("big", "small")})
    made(warm)(-1)
    return copy


@contextmanager
def _measured(cost: Cost) -> Iterator[None]:
    before, used = peak_mib(), _cpu()
    yield
    cost.update(cpu=_cpu() - used, rss_growth=peak_mib() - before, rss_peak=peak_mib())


def _all(copy: Callable[[int], None], numbers: Iterable[int], threads: int) -> Cost:
    cost: Cost = {}
    with _measured(cost), ThreadPoolExecutor(threads) as pool:
        list(pool.map(copy, numbers))
    return cost


@contextmanager
def _timed(load: Load, cost: Cost) -> Iterator[None]:
    groups = [load.s3_group] if load.s3_group else []
    used, began = cpu.seconds(groups), time.perf_counter()
    yield
    cost.update(seconds=time.perf_counter() - began, s3_cpu=cpu.seconds(groups) - used)


def _here(made: Way, load: Load) -> Cost:
    copy, cost = _ready(made, load), Cost()
    with _timed(load, cost):
        cost.update(_all(copy, range(load.count), load.threads))
    return cost


def _in_children(made: Way, load: Load) -> Cost:
    fork = get_context("fork")
    begin, said = fork.Barrier(_CHILDREN + 1), fork.SimpleQueue()

    def child(number: int) -> None:
        cost: Cost = {}  # of one that failed, or the parent would wait for ever
        try:
            copy = _ready(made, load)
            begin.wait(_PATIENCE)
            cost = _all(copy, range(number, load.count, _CHILDREN), load.threads // _CHILDREN)
        finally:
            said.put(cost)

    children = [fork.Process(target=child, args=(number,), daemon=True) for number in range(_CHILDREN)]
    share()  # as the worker does
    for one in children:
        one.start()
    cost: Cost = {}
    begin.wait(_PATIENCE)
    with _timed(load, cost):
        costs: list[Any] = [said.get() for _ in children]
    for one in children:
        one.join()
    if not all(costs):
        sys.exit("a child failed")
    return {**{name: sum(each[name] for each in costs) for name in costs[0]}, **cost}


def main() -> None:
    """Copy as ordered; the cost as JSON."""
    order = json.load(sys.stdin)
    way, load = order.pop("way"), Load(**order)
    run = _in_children if way in _FORKED and load.threads >= _CHILDREN else _here
    print(json.dumps(run(WAYS[way], load)))


if __name__ == "__main__":
    os.environ.pop("AWS_PROFILE", None)
    main()
