"""What a million finished jobs cost the work on those that are not: claiming, the list, a callback; and beside these,
as figures, the rest of a sweep and what is done once an hour.

Two databases on one server, one with 10,000 finished jobs and one with 1,000,000; calls go to both in turn.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy import Engine, text

from infra.db import single
from infra.settings import load
from infra.stack.servers import Servers
from tests.bench.filled import CALLER, FAMILY, RUNNING, filled
from tests.bench.measure import write
from tests.conftest import environment_for
from worker.store.accounts import Accounts
from worker.store.inbox import Arrival, Inbox
from worker.store.outbox import Outbox
from worker.store.repository import Repository
from worker.store.retention import Retention

SMALL, LARGE = 10_000, 1_000_000
ROUNDS = 201
_CLAIMED = 20
_PAGE = 30
#: The last page that both databases have, in pages of 30.
_DEEP = SMALL - _PAGE
#: The deepest page that the API allows (pageNum 1000), where there are so many.
_DEEPEST = 999 * 500


@dataclass
class Side:
    """One database, and what is measured on it; each call can be repeated."""

    engine: Engine
    numbers: count[int] = field(default_factory=lambda: count(1))

    def claim(self) -> None:
        """What a sweep does: find what is due and take it."""
        now = datetime.now(UTC)
        found = Repository(self.engine).claim_due(now, lease=timedelta(hours=1), limit=_CLAIMED)
        assert len(found) == _CLAIMED
        assert Outbox(self.engine).due(now, _CLAIMED) == []

    def rest_of_sweep(self) -> None:
        """What a sweep does besides: callbacks whose jobs were held, and jobs that wait for slots."""
        now = datetime.now(UTC)
        Inbox(single(self.engine)).remind(now)
        assert Accounts(self.engine).wake_all(now, lambda _: RUNNING) == []

    def hourly(self) -> None:
        """What is done once an hour where nothing is old enough to go, and nothing is at risk."""
        now, retention = datetime.now(UTC), Retention(self.engine)
        assert retention.at_risk(now - timedelta(days=27)) == []
        assert retention.expire(now - timedelta(days=30)) == (0, True)

    def some_due(self) -> None:
        """Make as many jobs due as one claim takes; not measured."""
        chosen = "select id from jobs where state = 'running' order by due_at desc limit :claimed"
        with self.engine.begin() as connection:
            due = text(f"update jobs set due_at = now() - interval '1 s' where id in ({chosen})")  # noqa: S608 - constant
            connection.execute(due, {"claimed": _CLAIMED})

    def page(self, offset: int, size: int = _PAGE) -> None:
        """One page of the list, with its files, as the door shows it."""
        store = Repository(self.engine)
        jobs = store.page(CALLER, FAMILY, limit=size, offset=offset)
        assert len(store.files([job.id for job in jobs])) == size

    def callback(self) -> None:
        """Store a callback that nobody has seen, of a job that runs."""
        number = next(self.numbers)
        job = f"r{number % RUNNING + 1:025}"
        body = b'{"task_status": "succeed", "number": %d}' % number
        arrival = Arrival(job, body, "understood", "succeed", datetime.now(UTC))
        # As the door does: each write is a transaction of its own.
        assert [True] == Inbox(single(self.engine)).put([arrival])


def run() -> None:
    """Measure and show."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = stack.enter_context(Servers(folder))
        settings = load(environment_for(servers.addresses))
        print(f"filling two databases with {SMALL:,} and {LARGE:,} finished jobs", flush=True)
        sides = {
            "10k": Side(stack.enter_context(filled(settings, "bench_small", SMALL))),
            "1m": Side(stack.enter_context(filled(settings, "bench_large", LARGE))),
        }
        costs = {
            "claim": _medians(sides, Side.claim, before=Side.some_due),
            "list": _medians(sides, lambda side: side.page(0)),
            "list, a deep page": _medians(sides, lambda side: side.page(_DEEP)),
            "callback": _medians(sides, Side.callback),
            "the rest of a sweep": _medians(sides, Side.rest_of_sweep),
            "the hourly run": _medians(sides, Side.hourly, rounds=21),
        }
        deepest = _medians({"1m": sides["1m"]}, lambda side: side.page(_DEEPEST, 500), rounds=9)["1m"]
    _show(costs, deepest)


def _medians(
    sides: dict[str, Side],
    call: Callable[[Side], None],
    *,
    before: Callable[[Side], None] = lambda _: None,
    rounds: int = ROUNDS,
) -> dict[str, float]:
    """Median milliseconds of a call on each side, the sides in turn."""
    seen: dict[str, list[float]] = {name: [] for name in sides}
    for _ in track(range(rounds), description="measuring", transient=True):
        for name, side in sides.items():
            before(side)
            began = time.perf_counter()
            call(side)
            seen[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(values) for name, values in seen.items()}


def _show(costs: dict[str, dict[str, float]], deepest: float) -> None:
    table = Table("call", "10,000", "1,000,000", "ratio", "", title="milliseconds, by finished jobs in the tables")
    for name, both in costs.items():
        ratio = both["1m"] / both["10k"]
        table.add_row(name, f"{both['10k']:.2f}", f"{both['1m']:.2f}", f"{ratio:.2f}", "█" * round(ratio * 10))
    Console().print(table)
    print(f"the deepest page that the API allows, tasks 499,501 to 500,000: {deepest:.1f} ms")
    ratios = {name: both["1m"] / both["10k"] for name, both in costs.items()}
    said = {
        "claim_1m_vs_10k": ratios["claim"],
        "list_1m_vs_10k": max(ratios["list"], ratios["list, a deep page"]),
        "callback_1m_vs_10k": ratios["callback"],
    }
    figures = {"milliseconds": costs, "deepest_page_ms": deepest}
    write("scale", {name: round(value, 2) for name, value in said.items()}, figures)
