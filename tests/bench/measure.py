"""Measuring on a shared machine: interleaved runs, medians, and ratios against a baseline of the same run."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

#: Where figures are kept for other programs.
FIGURES = Path(".reelhook/bench")
#: Interleaved rounds. An odd number has a middle.
ROUNDS = 15


def asked(rounds: int) -> int:
    """Rounds to play: so many, or as many as the environment's ROUNDS says, for a quick look."""
    return int(os.environ.get("ROUNDS", rounds))


def medians(ways: Mapping[str, Callable[[], object]], *, calls: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds that one call of each way takes. In each round every way has its turn, so noise hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in track(range(rounds), description="measuring", transient=True):
        for name, way in ways.items():
            began = time.perf_counter()
            for _ in range(calls):
                way()
            seconds[name].append((time.perf_counter() - began) / calls)
    return {name: statistics.median(values) for name, values in seconds.items()}


def show(title: str, rows: Mapping[str, Mapping[str, float]], *, baseline: str, ratio: str) -> None:
    """A table of ratios against `baseline`, drawn as bars, and one `name ratio=...` line each for other programs."""
    console = Console()
    table = Table("case", "way", ratio, "", title=title)
    for case, times in rows.items():
        for way, seconds in times.items():
            value = seconds / times[baseline]
            table.add_row(case, way, f"{value:.2f}", "█" * round(value * 6))
    console.print(table)
    for case, times in rows.items():
        for way, seconds in times.items():
            if way != baseline:
                print(f"{case} {way} {ratio}={seconds / times[baseline]:.2f}")


def write(name: str, ratios: Mapping[str, float | None], figures: Mapping[str, Any]) -> None:
    """Keep what a benchmark measured, by its name; the ratios are printed too."""
    for ratio, value in ratios.items():
        print(f"{ratio}={value}")
    FIGURES.mkdir(parents=True, exist_ok=True)
    said = {"name": name, "ratios": dict(ratios), "figures": dict(figures)}
    (FIGURES / f"{name}.json").write_text(json.dumps(said, indent=2) + "\n")
