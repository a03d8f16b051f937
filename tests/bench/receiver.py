"""Callbacks stored in a second, token proven and commit on disk, against what most people write and against nothing.

Baselines of the same run, on gunicorn's sync workers, as many as we have processes: a Flask handler that only calls
`task.delay()` on Redis, and one that returns 204. Turns alternate; one of ours has a broker that swallows everything.
Each job gets the three callbacks of its life, so a third of them makes a job due.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import requests
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy import Engine, create_engine, text

from infra.settings import load
from infra.stack.deployment import PROJECT
from infra.stack.environment import clean
from infra.stack.kept import free_port
from infra.stack.process import Child, wait_until
from infra.stack.procfile import parse, shell
from infra.stack.servers import Addresses, Servers
from tests.bench import cpu
from tests.bench.measure import asked, write
from tests.bench.receiver_load import Order, ends, jobs_for
from tests.conftest import environment_for
from tests.proxy import FaultProxy
from worker.jobs.tokens import callback_token
from worker.store.migrate import migrate

ROUNDS = asked(5)
#: Callbacks of one turn, and how many are under way at once.
COUNT = 4000
CONNECTIONS = 64
PROCESSES = 2
_WARM = 500
OURS, BLACKHOLED, DELAY, NOTHING = "ours", "ours, no broker", "task.delay()", "204"
WAYS = ("keep-alive", "churn")

_INSERT = text("""
insert into jobs (id, caller, account, family, state, fingerprint, created_at, updated_at, due_at)
select id, 'default', 'default', 'videos/omni-video', 'running', '', now(), now(), now() + interval '1 day'
from unnest(cast(:ids as text[])) as id
""")

_KEPT = text("select (select count(*) from callbacks), (select count(*) from jobs where due_at <= now())")


@dataclass(frozen=True)
class Turn:
    """What one turn of one of them came to."""

    per_second: float
    p99_ms: float
    cpu_us: float  #: of the serving processes, for one callback
    all_us: float  #: with PostgreSQL's and the broker's


@dataclass
class Field:
    """The servers, those who are measured, and how often each was asked."""

    addresses: Addresses
    engine: Engine
    ports: Mapping[str, int]
    groups: Mapping[str, int]
    behind: tuple[int, ...]  #: PostgreSQL's process and Redis'
    paths: Path
    first: int = 0
    stored: int = 0  #: callbacks that ours answered 2xx
    ended: int = 0  #: and those of them that told of an end

    def play(self, name: str, way: str, count: int = COUNT) -> Turn:
        """A turn. Every callback in it is another one than any before."""
        first, self.first = self.first, self.first + count
        order = Order(self.ports[name], str(self.paths), first, count, CONNECTIONS, way == "keep-alive")
        own, behind = self._used(name)
        ran = subprocess.run(
            [sys.executable, "-m", "tests.bench.receiver_load"], input=json.dumps(vars(order)), text=True,
            capture_output=True, check=False, cwd=PROJECT,
        )  # fmt: skip
        if ran.returncode:
            sys.exit(f"the load on {name} failed:\n{ran.stderr}")
        said = json.loads(ran.stdout)
        after_own, after_behind = self._used(name)
        if set(said["answers"]) != {"204"}:
            sys.exit(f"{name} answered {said['answers']}")
        if name.startswith(OURS):
            self.stored += count
            self.ended += ends(first, count)
        with redis.Redis.from_url(self.addresses.redis_url) as broker:
            broker.flushall()  # a queue that only grows would be the baseline's burden
        own, behind = after_own - own, after_behind - behind
        return Turn(said["per_second"], said["p99"] * 1000, own / count * 1e6, (own + behind) / count * 1e6)

    def _used(self, name: str) -> tuple[float, float]:
        return cpu.seconds([self.groups[name]]), sum(cpu.with_children(pid) for pid in self.behind)

    def check(self) -> None:
        """Every callback that was answered 2xx is a row, and no other is; every end has made its job due."""
        with self.engine.connect() as connection:
            rows, due = connection.execute(_KEPT).one()
        if (rows, due) != (self.stored, self.ended):
            sys.exit(
                f"{self.stored} callbacks were answered 204, {self.ended} of ends; "
                f"{rows} are in the database, and {due} jobs are due"
            )


def run() -> None:
    """Measure and show."""
    with _field() as field:
        for name in field.ports:
            for way in WAYS:
                field.play(name, way, _WARM)
        turns: dict[tuple[str, str], list[Turn]] = {(name, way): [] for way in WAYS for name in field.ports}
        for _ in track(range(ROUNDS), description="receiver", transient=True):
            for (name, way), found in turns.items():
                found.append(field.play(name, way))
        field.check()
    ratios = {
        "vs_delay": _ratio(turns, min, OURS, DELAY, "per_second"),
        "vs_204": _ratio(turns, min, OURS, NOTHING, "per_second"),
        "p99_vs_delay": _ratio(turns, max, OURS, DELAY, "p99_ms"),
        "blackholed_vs_normal": _ratio(turns, min, BLACKHOLED, OURS, "per_second"),
    }
    _show(turns, field.stored)
    medians = {f"{name}, {way}": _medians(found) for (name, way), found in turns.items()}
    write("receiver", ratios, {**medians, "stored": field.stored, "processes": PROCESSES})


def _ratio(
    turns: Mapping[tuple[str, str], list[Turn]], worst: Callable[..., float], one: str, other: str, what: str
) -> float:
    """The median over the rounds, each against its own round; of keep-alive and churn the worse."""
    return round(
        worst(
            statistics.median(
                getattr(mine, what) / getattr(theirs, what)
                for mine, theirs in zip(turns[one, way], turns[other, way], strict=True)
            )
            for way in WAYS
        ),
        2,
    )


def _medians(turns: list[Turn]) -> dict[str, float]:
    return {name: round(statistics.median(getattr(turn, name) for turn in turns), 1) for name in vars(turns[0])}


def _show(turns: Mapping[tuple[str, str], list[Turn]], stored: int) -> None:
    title = f"receiver: {PROCESSES} processes each, {CONNECTIONS} connections, {stored} callbacks stored and counted"
    table = Table("way", "who", "per s", "p99 ms", "CPU us", "with servers", "", title=title)
    shown = {key: _medians(found) for key, found in turns.items()}
    most = max(one["per_second"] for one in shown.values())
    for (name, way), one in shown.items():
        numbers = [f"{one[what]:.0f}" for what in ("per_second", "p99_ms", "cpu_us", "all_us")]
        table.add_row(way, name, *numbers, "█" * max(round(one["per_second"] / most * 16), 1))
    Console(width=100).print(table)


@contextmanager
def _field() -> Iterator[Field]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = stack.enter_context(Servers(folder))  # not `fast`: a commit is on disk
        stack.callback(servers.discard)
        proxy = stack.enter_context(FaultProxy("127.0.0.1", servers.redis.port))
        addresses = servers.addresses
        values = environment_for(addresses)
        engine = create_engine(load(values).database_url)
        stack.callback(engine.dispose)
        paths = _jobs(engine, values["SECRET_KEY"].encode(), folder / "paths")
        web = parse((PROJECT / "Procfile").read_text())["web"]
        sync = f"gunicorn --no-control-socket --workers {PROCESSES} --worker-class sync --bind 127.0.0.1:$PORT"
        commands: dict[str, tuple[str, dict[str, str]]] = {
            OURS: (web, values),
            BLACKHOLED: (web, {**values, "REDIS_URL": proxy.url.replace("http", "redis")}),
            DELAY: (f"{sync} tests.bench.receiver_baselines:delaying", {"BASELINE_BROKER": addresses.redis_url}),
            NOTHING: (f"{sync} tests.bench.receiver_baselines:forgetting", {}),
        }
        proxy.blackhole()
        started = {name: _start(stack, folder, name, *command) for name, command in commands.items()}
        yield Field(
            addresses,
            engine,
            ports={name: port for name, (port, _) in started.items()},
            groups={name: child.pid for name, (_, child) in started.items()},
            behind=(servers.postgres.pid, servers.redis.pid),
            paths=paths,
        )


def _jobs(engine: Engine, secret: bytes, paths: Path) -> Path:
    """Jobs that wait for their callbacks; the file holds the addresses."""
    migrate(engine)
    all_turns = len(WAYS) * 4 * (_WARM + ROUNDS * COUNT)
    ids = [f"01{secrets.token_hex(12)}" for _ in range(jobs_for(all_turns))]
    with engine.begin() as connection:
        connection.execute(_INSERT, {"ids": ids})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze jobs"))
    paths.write_text("\n".join(f"/callbacks/kling/{job}/{callback_token(secret, job)}" for job in ids))
    return paths


def _start(stack: ExitStack, folder: Path, name: str, command: str, values: Mapping[str, str]) -> tuple[int, Child]:
    port = free_port()
    own = {"PORT": str(port), "HOST": "127.0.0.1", "WEB_CONCURRENCY": str(PROCESSES)}
    env: dict[str, Any] = {**clean(os.environ), **values, **own, "PYTHONPATH": str(PROJECT)}
    log = folder / f"{port}.log"
    child = Child(f"web-{port}", shell(command), state=folder, log=log, env=env, cwd=PROJECT)
    stack.callback(child.end, 10)
    if not wait_until(lambda: _listens(port), 60):
        sys.exit(f"{name} does not listen:\n{log.read_text()[-2000:]}")
    if name.startswith(OURS):
        assert wait_until(lambda: requests.get(f"http://127.0.0.1:{port}/readyz", timeout=60).ok, 60)
    return port, child


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
