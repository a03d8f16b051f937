"""What the archive costs against a bare GET into one PUT, `rclone copyurl`, and the usual `upload_fileobj`.

One loopback origin, one S3 server, interleaved rounds; each way is a process of its own, so that its CPU seconds and
its peak memory are its own. A second table puts 40 ms of latency before the S3 server.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.stack.servers import Servers
from tests.bench.archive_ways import WAYS, Load
from tests.integration.archive_kit import film
from tests.origin import film_of, origin
from tests.proxy import FaultProxy

_ROUNDS = 3
_LATENCY = 0.02  #: seconds each way, 40 ms for a round trip
_RESULT = Path(".reelhook/bench/archive.json")


@dataclass(frozen=True)
class Cost:
    """What one run of one way took."""

    seconds: float
    cpu: float  #: seconds of the client
    rss_growth: float  #: MiB above what the process had before it copied


def run() -> None:
    """Measure and show; the ratios also as JSON."""
    with ExitStack() as stack:
        servers = stack.enter_context(_servers())
        port = int(servers.s3_endpoint_url.rpartition(":")[2])
        proxy = stack.enter_context(FaultProxy("127.0.0.1", port))
        proxy.delay(_LATENCY)
        body = film()
        served = stack.enter_context(origin(big=film_of(body, 200 * 2**20), small=film_of(body, 5 * 2**20)))
        keys = {"key": servers.s3_access_key_id, "secret": servers.s3_secret_access_key, "bucket": servers.s3_bucket}

        def load(name: str, count: int, endpoint: str) -> Load:
            return Load(url=served.link(f"{name}.mp4"), count=count, threads=min(count, 8), endpoint=endpoint, **keys)

        near, far = servers.s3_endpoint_url, proxy.url
        cases = {
            "1 x 200 MiB": load("big", 1, near),
            "100 x 5 MiB": load("small", 100, near),
            "1 x 5 MiB": load("small", 1, near),
            "1 x 200 MiB, 40 ms": load("big", 1, far),
            "100 x 5 MiB, 40 ms": load("small", 100, far),
        }
        costs = {name: _measure(case) for name, case in cases.items()}
        served.files["big"] = film_of(body, 2 * 2**30)
        huge = _once("proven", load("big", 1, near))
    _show(costs, huge)


@contextmanager
def _servers() -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder), fast=True) as servers:
        yield servers.addresses


def _measure(load: Load) -> dict[str, Cost]:
    """The median cost of each way. In each round every way has its turn, so noise hits all alike."""
    seen: dict[str, list[Cost]] = {name: [] for name in WAYS if name != "rclone" or shutil.which("rclone")}
    for _ in range(_ROUNDS):
        for name, costs in seen.items():
            costs.append(_once(name, load))
    return {name: _median(costs) for name, costs in seen.items()}


def _once(name: str, load: Load) -> Cost:
    order = json.dumps({"way": name, **asdict(load)})
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.archive_ways"], input=order, text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    if ran.returncode:
        sys.exit(f"{name} failed:\n{ran.stderr}")
    return Cost(**json.loads(ran.stdout.splitlines()[-1]))


def _median(costs: list[Cost]) -> Cost:
    of: Callable[[str], float] = lambda name: statistics.median(getattr(cost, name) for cost in costs)  # noqa: E731
    return Cost(of("seconds"), of("cpu"), of("rss_growth"))


def _show(costs: dict[str, dict[str, Cost]], huge: Cost) -> None:
    table = Table("case", "way", "vs floor", "", "CPU vs floor", "RSS growth MiB", title="throughput")
    for case, ways in costs.items():
        floor = ways["floor"]
        for way, cost in ways.items():
            ratio = floor.seconds / cost.seconds
            cpu, bar = f"{cost.cpu / floor.cpu:.2f}", "█" * round(ratio * 10)
            table.add_row(case, way, f"{ratio:.2f}", bar, cpu, f"{cost.rss_growth:.0f}")
    Console().print(table)
    ratios = {**_ratios(costs), "rss_growth_mib_of_2_gib": round(huge.rss_growth, 1)}
    for name, value in ratios.items():
        print(f"{name}={value}")
    if "rclone" not in costs["1 x 200 MiB"]:
        print("rclone is not on PATH: its column is left out (vs_rclone and cpu_vs_rclone are null)")
    _RESULT.parent.mkdir(parents=True, exist_ok=True)
    _RESULT.write_text(json.dumps({"at": time.time(), **ratios, "cases": _plain(costs)}, indent=2))


def _plain(costs: dict[str, dict[str, Cost]]) -> dict[str, dict[str, dict[str, float]]]:
    return {case: {way: asdict(cost) for way, cost in ways.items()} for case, ways in costs.items()}


def _ratios(costs: dict[str, dict[str, Cost]]) -> dict[str, float | None]:
    near = [costs["1 x 200 MiB"], costs["100 x 5 MiB"]]
    bare = costs["1 x 5 MiB"]

    def worst(of: Callable[[Cost, Cost], float], other: str) -> float | None:
        values = [of(ways["ours"], ways[other]) for ways in near if other in ways]
        return round(min(values), 3) if values else None

    return {
        "vs_floor": worst(lambda ours, floor: floor.seconds / ours.seconds, "floor"),
        "vs_rclone": worst(lambda ours, other: other.seconds / ours.seconds, "rclone"),
        "cpu_vs_rclone": worst(lambda ours, other: ours.cpu / other.cpu, "rclone"),
        "rss_growth_mib": round(costs["1 x 200 MiB"]["ours"].rss_growth, 1),
        "latency_vs_bare": round(bare["proven"].seconds / bare["floor"].seconds, 2),
    }
