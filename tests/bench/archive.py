"""What the archive costs against a bare GET into one PUT, `rclone copyurl`, `upload_fileobj` and `s5cmd pipe`.

One loopback origin, one S3 server, interleaved rounds; each way is a process of its own, so that its CPU seconds and
its peak memory are its own, with eight files under way. The archive does that as the product does, in four children;
see `archive_once`. A second table puts 40 ms of latency before S3. The whole ends within ten minutes: on a busy machine
there are fewer rounds.

The embedded S3 server is one process, and on loopback it is what everybody waits for: what a way makes it do bounds
the way's speed, however little it does itself. So that is shown too.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.stack.s3 import client
from infra.stack.servers import Addresses, Servers
from tests.bench.archive_latency import latency, real_film
from tests.bench.archive_memory import DEFAULT, SIXTEEN, of_a_worker
from tests.bench.archive_ways import Load, tool
from tests.bench.measure import asked, write
from tests.integration.archive_kit import film
from tests.origin import film_on_disk, origin
from tests.proxy import FaultProxy

_ROUNDS = asked(5)
_LATENCIES = int(os.environ.get("LATENCIES", "100"))
#: Seconds after which a case begins no more rounds.
_CASE_SECONDS = 60
_DELAY = 0.02  #: seconds each way, 40 ms for a round trip
_NEAR = ("floor", "ours", "usual", "rclone", "rclone_each", "rclone_plain", "s5cmd")
#: Those that a round trip makes a difference to.
_FAR = ("floor", "ours", "usual", "rclone")
_TOOLS = {"rclone": "rclone", "rclone_each": "rclone", "rclone_plain": "rclone", "s5cmd": "s5cmd"}


@dataclass(frozen=True)
class Cost:
    """What one run of one way took."""

    seconds: float
    cpu: float  #: seconds of the client
    rss_growth: float  #: MiB above what the process had before it copied
    rss_peak: float  #: MiB of the whole process
    s3_cpu: float  #: seconds of the S3 server


def run() -> None:
    """Measure and show; the ratios also as JSON."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = stack.enter_context(Servers(folder / "servers", fast=True))
        servers = running.addresses
        port = int(servers.s3_endpoint_url.rpartition(":")[2])
        proxy = stack.enter_context(FaultProxy("127.0.0.1", port))
        proxy.delay(_DELAY)
        sizes = {"big": 200, "mid": 64, "film": 16, "small": 5}  # MiB
        files = {name: film_on_disk(folder / name, film(5), size * 2**20) for name, size in sizes.items()}
        real = real_film()
        files["real"] = film_on_disk(folder / "real", real, len(real))
        served = stack.enter_context(origin(**files))
        same: dict[str, Any] = {
            "key": servers.s3_access_key_id, "secret": servers.s3_secret_access_key, "bucket": servers.s3_bucket,
            "s3_group": getattr(running.s3, "pid", 0),
        }  # fmt: skip

        def load(name: str, count: int, endpoint: str = servers.s3_endpoint_url) -> Load:
            return Load(url=served.link(f"{name}.mp4"), count=count, threads=min(count, 8), endpoint=endpoint, **same)

        cases: dict[str, tuple[Load, Sequence[str]]] = {
            "1 x 200 MiB": (load("big", 1), _NEAR),
            "100 x 5 MiB": (load("small", 100), (*_NEAR, "pictures", "least")),
            "8 x 16 MiB": (load("film", 8), ("floor", "ours", "rclone")),
            "1 x 64 MiB": (load("mid", 1), ("floor", "ours")),
            "1 x 200 MiB, 40 ms": (load("big", 1, proxy.url), _FAR),
            "100 x 5 MiB, 40 ms": (load("small", 100, proxy.url), _FAR),
        }
        costs = {name: _measure(servers, name, *case) for name, case in cases.items()}
        facts: dict[str, Any] = {
            "rss_growth_mib_of_5_mib": _once("pictures", load("small", 1)).rss_growth,
            "pss_mib_of_the_default_worker": of_a_worker(servers, served.link("mid.mp4"), command=DEFAULT, copies=16),
            "pss_mib_of_16_at_once": of_a_worker(servers, served.link("mid.mp4"), command=SIXTEEN, copies=16),
            "latency": latency(servers, load("small", 1), _LATENCIES, seconds=60),
            "latency_of_a_real_film": latency(servers, load("real", 1), _LATENCIES // 5 or 2, seconds=30),
        }
        served.files["big"] = film_on_disk(folder / "big", film(5), 2 * 2**30)
        facts["rss_growth_mib_of_2_gib"] = _once("pictures", load("big", 1)).rss_growth
    _show(costs)
    write("archive", _ratios(costs, facts), {"rounds": _ROUNDS, "facts": facts, "cases": _plain(costs)})


def _measure(addresses: Addresses, name: str, load: Load, ways: Sequence[str]) -> dict[str, Cost]:
    """The median cost of each way. In each round every way has its turn, so noise hits all alike."""
    end = time.monotonic() + (_CASE_SECONDS / 2 if len(ways) < len(_NEAR) else _CASE_SECONDS)
    seen: dict[str, list[Cost]] = {way: [] for way in ways if way not in _TOOLS or tool(_TOOLS[way])}
    for number in range(_ROUNDS):
        if number and time.monotonic() > end:
            break
        print(f"{name}: round {number + 1}", file=sys.stderr, flush=True)
        for way, costs in seen.items():
            costs.append(_once(way, load))
            _empty(addresses)
    return {way: _median(costs) for way, costs in seen.items()}


def _empty(addresses: Addresses) -> None:
    """Take all out of the bucket: the archive writes over nothing, and every way is to find the same."""
    s3 = client(addresses.s3_endpoint_url, addresses.s3_access_key_id, addresses.s3_secret_access_key)
    for one in s3.list_objects_v2(Bucket=addresses.s3_bucket).get("Contents", []):
        s3.delete_object(Bucket=addresses.s3_bucket, Key=one["Key"])


def _once(name: str, load: Load) -> Cost:
    order = json.dumps({"way": name, **asdict(load)})
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.archive_once"], input=order, text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    if ran.returncode:
        sys.exit(f"{name} failed:\n{ran.stderr}")
    return Cost(**json.loads(ran.stdout.splitlines()[-1]))


def _median(costs: list[Cost]) -> Cost:
    of: Callable[[str], float] = lambda name: statistics.median(getattr(cost, name) for cost in costs)  # noqa: E731
    return Cost(*(of(field.name) for field in fields(Cost)))


def _show(costs: dict[str, dict[str, Cost]]) -> None:
    for title, far in (("throughput on loopback", False), ("with 40 ms for a round trip to S3", True)):
        table = Table("case", "way", "vs floor", "", "CPU vs floor", "S3's CPU", "RSS growth MiB", title=title)
        for case, ways in costs.items():
            for way, cost in ways.items() if case.endswith("40 ms") is far else ():
                floor = ways["floor"]
                ratio, s3 = floor.seconds / cost.seconds, cost.s3_cpu / (floor.s3_cpu or 1)
                figures = f"{cost.cpu / floor.cpu:.2f}", f"{s3:.2f}", f"{cost.rss_growth:.0f}"
                table.add_row(case, way, f"{ratio:.2f}", "█" * round(ratio * 10), *figures)
        Console().print(table)
    for name in sorted({name for name in _TOOLS.values() if not tool(name)}):
        print(f"{name} is not installed: left out (uv pip install --group bench)")


def _plain(costs: dict[str, dict[str, Cost]]) -> dict[str, dict[str, dict[str, float]]]:
    return {case: {way: asdict(cost) for way, cost in ways.items()} for case, ways in costs.items()}


def _ratios(costs: dict[str, dict[str, Cost]], facts: Mapping[str, Any]) -> dict[str, float | None]:
    """Of both sizes the worse; each of them stands beside it."""
    sizes = {"200_mib": costs["1 x 200 MiB"], "5_mib": costs["100 x 5 MiB"]}
    found: dict[str, float | None] = {}

    def judge(name: str, other: str, of: Callable[[Cost, Cost], float], worse: Callable[[list[float]], float]) -> None:
        values = {size: of(ways["ours"], ways[other]) for size, ways in sizes.items() if other in ways}
        found[name] = round(worse(list(values.values())), 3) if values else None
        found.update({f"{name}_{size}": round(value, 3) for size, value in values.items()})

    judge("vs_floor", "floor", lambda ours, other: other.seconds / ours.seconds, min)
    judge("vs_rclone", "rclone", lambda ours, other: other.seconds / ours.seconds, min)
    judge("vs_rclone_each", "rclone_each", lambda ours, other: other.seconds / ours.seconds, min)
    # What the S3 server, which is one process, could allow at most: it has a HEAD more to answer for each of our files.
    judge("vs_rclone_bound_by_s3", "rclone", lambda ours, other: other.s3_cpu / (ours.s3_cpu or 1), min)
    judge("cpu_vs_rclone", "rclone_plain", lambda ours, other: ours.cpu / other.cpu, max)
    small = costs["100 x 5 MiB"]
    # A hash and a HEAD alone: how near to the floor whoever proves his bytes can come here.
    found["least_vs_floor_5_mib"] = round(small["floor"].seconds / small["least"].seconds, 3)
    growth = max(costs["1 x 200 MiB"]["ours"].rss_growth, facts["rss_growth_mib_of_5_mib"])
    found["rss_growth_mib"] = round(growth, 1)
    found["latency_vs_bare"] = round(facts["latency"]["median"], 2)
    found["latency_vs_bare_p99"] = round(facts["latency"]["p99"], 2)
    found["latency_vs_bare_real_film"] = round(facts["latency_of_a_real_film"]["median"], 2)
    for name in ("rss_growth_mib_of_2_gib", "pss_mib_of_the_default_worker", "pss_mib_of_16_at_once"):
        found[name] = None if facts[name] is None else round(facts[name], 1)
    for name, case in (("vs_floor_16_mib", costs["8 x 16 MiB"]), ("vs_floor_64_mib", costs["1 x 64 MiB"])):
        found[name] = round(case["floor"].seconds / case["ours"].seconds, 3)
    return found
