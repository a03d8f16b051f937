"""CPU that one job costs in web, worker and beat, from accepted to announced, against as many tasks that do nothing.

The Procfile's processes and a bare Celery worker stand on the same Redis; their turns alternate. Kling's emulator, the
servers, and this process, which asks and is told, are not counted. The film has about 100 kB; there are no previews.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
import requests
from celery import chain
from rich.console import Console
from rich.table import Table

from infra.stack.deployment import PROJECT, Deployment
from infra.stack.process import Child, wait_until
from tests.bench import bare, cpu
from tests.bench.measure import asked, write
from tests.receiver import Receiver, receiver

#: submit, follow_up, archive, announce.
TASKS = 4
ROUNDS = asked(5)
JOBS = 60
CHAINS = 300
#: Jobs under way at once: fewer than the emulator has slots, so that none waits.
AT_ONCE = 12
_STAGE_JOBS = 25
_TEXT = {"model_name": "kling-video-o1", "prompt": "a cat", "mode": "std", "aspect_ratio": "16:9", "duration": "5"}


@dataclass(frozen=True)
class Round:
    """What one job, or one chain, took on average of a round."""

    cpu_ms: float
    per_second: float


class Ours:
    """The deployment, and a caller who waits to be told of each job."""

    def __init__(self, deployment: Deployment, told: Receiver) -> None:
        self.deployment = deployment
        self.told = told
        self._lock = threading.Lock()
        self._read = 0  #: deliveries whose job is in `_known`
        self._known: set[str] = set()

    def play(self, jobs: int) -> Round:
        """Have so many jobs done, a few at once."""
        with _watched(list(self.deployment.pids.values()), jobs) as rounds, ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda _: self._one(), range(jobs)))
        return rounds[0]

    def stages(self) -> dict[str, float]:
        """Milliseconds of each stage played by itself, in a process of its own."""
        runner = self.deployment._make_runner()
        ran = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-m", "tests.bench.stages", self.told.url, str(_STAGE_JOBS)],
            # Nobody polls meanwhile, and Kling's own callbacks find nobody.
            env={**runner._env, "PYTHONPATH": str(PROJECT), "PUBLIC_URL": "http://127.0.0.1:9", "KLING_PACE": "10"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ran.returncode:
            sys.exit(f"the stages could not be played:\n{ran.stderr}")
        return {name: cost / 1000 for name, cost in json.loads(ran.stdout.splitlines()[-1]).items()}

    def _one(self) -> None:
        access = self.deployment.access
        body = {**_TEXT, "callback_url": self.told.url}
        headers = {"Authorization": f"Bearer {access.api_key}"}
        answer = requests.post(f"{access.url}/kling/v1/videos/omni-video", json=body, headers=headers, timeout=30)
        job = answer.json()["data"]["task_id"]
        assert wait_until(lambda: self._is_told(job), 90, pause=0.02), job

    def _is_told(self, job: str) -> bool:
        """Each delivery is read once: to look through all of them for every job would cost more than the jobs do."""
        with self._lock:
            come = self.told.raw[self._read :]
            self._read += len(come)
            self._known.update(json.loads(raw)["task_id"] for raw in come)
        return job in self._known


class Bare:
    """The bare worker."""

    def __init__(self, child: Child, url: str) -> None:
        self._child = child
        self._redis: Any = redis.Redis.from_url(url)

    def play(self, chains: int) -> Round:
        """Have so many chains done."""
        with _watched([self._child.pid], chains) as rounds:
            for _ in range(chains):
                chain(*[bare.nothing.si() for _ in range(TASKS)]).apply_async()
            assert wait_until(self._is_idle, 120)
        return rounds[0]

    def _is_idle(self) -> bool:
        # Between two links of a chain nothing may lie anywhere for a moment.
        for _ in range(5):
            if self._redis.llen("celery") or self._redis.hlen("unacked"):
                return False
            time.sleep(0.01)
        return True


@contextmanager
def _watched(groups: list[int], count: int) -> Iterator[list[Round]]:
    """What the processes of `groups` used in the block, which did `count` jobs; there at its end."""
    rounds: list[Round] = []
    before, began = cpu.seconds(groups), time.perf_counter()
    yield rounds
    seconds = time.perf_counter() - began
    rounds.append(Round((cpu.seconds(groups) - before) / count * 1000, count / seconds))


@contextmanager
def _ours(folder: Path) -> Iterator[Ours]:
    deployment = Deployment(folder, speed=2000, fast=True, more={"POSTERS": "false", "CONTACT_SHEETS": "false"})
    try:
        with receiver() as told:
            yield Ours(deployment.start(), told)
    finally:
        deployment.discard()


@contextmanager
def _bare(folder: Path, broker: str) -> Iterator[Bare]:
    words = [sys.executable, "-m", "celery", "-A", "tests.bench.bare", "worker", "--concurrency=4", "--loglevel=ERROR"]
    env = {**os.environ, "BARE_BROKER": broker}
    child = Child("bare", words, state=folder, log=folder / "bare.log", env=env, cwd=PROJECT)
    bare.app.conf.update(broker_url=broker)
    try:
        yield Bare(child, broker)
    finally:
        bare.app.close()
        child.end(10)


def run() -> None:
    """Measure and show."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(_ours(folder))
        broker = ours.deployment.access.servers.redis_url.rpartition("/")[0] + "/1"
        plain = stack.enter_context(_bare(folder, broker))
        ours.play(JOBS)  # warms both up
        plain.play(CHAINS)
        rounds = [(ours.play(JOBS), plain.play(CHAINS)) for _ in range(ROUNDS)]
        stages = ours.stages()
    mine, other = (_median([pair[side] for pair in rounds]) for side in (0, 1))
    ratio = statistics.median(ours.cpu_ms / bare.cpu_ms for ours, bare in rounds)
    _show(mine, other, stages)
    figures = {"job": asdict(mine), "bare_chain": asdict(other), "stages_ms": stages, "tasks": TASKS}
    write("lifecycle", {"cpu_vs_noop_chain": round(ratio, 2)}, figures)


def _median(rounds: list[Round]) -> Round:
    return Round(statistics.median(one.cpu_ms for one in rounds), statistics.median(one.per_second for one in rounds))


def _show(mine: Round, other: Round, stages: Mapping[str, float]) -> None:
    table = Table("", "CPU ms", "a second", "", title=f"a job against a bare chain of {TASKS} tasks")
    for name, cost in (("job", mine), ("bare chain", other)):
        bar = "█" * round(cost.cpu_ms / other.cpu_ms * 4)
        table.add_row(name, f"{cost.cpu_ms:.2f}", f"{cost.per_second:.1f}", bar)
    Console().print(table)
    parts = Table("stage", "CPU ms", "", title="what each stage costs by itself, without Celery's part")
    for name, value in stages.items():
        parts.add_row(name, f"{value:.2f}", "█" * round(value * 4))
    Console().print(parts)
