"""One scenario from its first job to the verdict, and many as a table."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from infra.stack.process import StackError
from tests.chaos.promises import judge
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.chaos.world import World

_QUICK = 3


@dataclass(frozen=True)
class Played:
    """What a scenario showed."""

    name: str
    seconds: float
    jobs: int
    kills: int
    lost: int
    creates_twice: int
    files_twice: int
    recovery: tuple[float, ...]  #: seconds that each job which was open when the fault ended still took
    slowest: float  #: seconds that the door let a caller wait
    connections: tuple[int, int]  #: most at once, to PostgreSQL and to Redis
    turned_away: int  #: requests that the door answered with 503, or not at all
    broken: tuple[str, ...]

    def line(self) -> str:
        """In one line."""
        verdict = f"[red]{len(self.broken)} broken[/red]" if self.broken else "[green]kept[/green]"
        median, worst = self.to_recover
        after = f"recovered in {median} s, {worst} s at worst" if self.recovery else "nothing was open at the end"
        return f"{self.name:<30} {self.jobs:>4} jobs {self.kills:>3} kills {self.seconds:>4.0f} s  {verdict}  {after}"

    @property
    def to_recover(self) -> tuple[str, str]:
        """Seconds from the end of the fault to the end of the jobs that were open then: median and worst."""
        return (f"{statistics.median(self.recovery):.1f}", f"{max(self.recovery):.1f}") if self.recovery else ("-", "-")


def play(world: World, name: str, scenario: Scenario, *, quick: bool = False) -> Played:
    """Play a scenario, wait for recovery, judge."""
    began = time.monotonic()
    part = _QUICK if quick else 1
    stopped = []
    with world.scenario(name) as run:
        run.calls_again = scenario.calls_again
        try:
            scenario.play(world, max(scenario.jobs // part, 1), max(scenario.rounds // part, 1))
            world.is_healed()
            world.settle(scenario.seconds)
        except (AssertionError, StackError) as fault:
            stopped.append(f"stopped: {fault}")
    facts, broken = judge(world, scenario.ends)
    return Played(
        name,
        time.monotonic() - began,
        len(run.jobs),
        run.kills,
        facts.lost,
        facts.creates_twice,
        facts.files_twice,
        tuple(facts.recovery),
        run.slowest,
        (run.connections["PostgreSQL"], run.connections["Redis"]),
        run.answers[0] + run.answers[503],
        (*stopped, *broken),
    )


def play_each(names: Iterator[str], *, quick: bool, keep: Path | None) -> Generator[Played]:
    """Play on one world as long as it is whole: what one scenario breaks must not be charged to the next.

    The logs of a world that broke go to `keep`.
    """
    with ExitStack() as worlds:
        world, more = None, None
        for name in names:
            scenario = SCENARIOS[name]
            if world is None or more != scenario.more:
                worlds.close()
                folder, more = Path(tempfile.mkdtemp(prefix="reelhook-chaos-")), scenario.more
                world = worlds.enter_context(World(folder, more=more))
            played = play(world, name, scenario, quick=quick)
            if played.broken:
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.move(folder / "logs", keep / f"{name.replace(' ', '-')}-{time.time():.0f}")
                worlds.close()
                world = None
            yield played


def table(played: list[Played]) -> Table:
    """The result."""
    shown = Table(title="Chaos: what was lost, and how long recovery took")
    for column in ("scenario", "verdict"):
        shown.add_column(column)
    numbers = (
        "jobs",
        "kills",
        "lost",
        "duplicated creates",
        "duplicated files",
        "to recover s (median)",
        "(worst)",
        "turned away",
        "slowest answer s",
        "PG, Redis conns",
        "took s",
    )
    for column in numbers:
        shown.add_column(column, justify="right")
    for one in played:
        shown.add_row(
            one.name,
            "[red]BROKEN[/red]" if one.broken else "[green]kept[/green]",
            *map(str, (one.jobs, one.kills, one.lost, one.creates_twice, one.files_twice)),
            *one.to_recover,
            str(one.turned_away),
            f"{one.slowest:.1f}",
            "{} {}".format(*one.connections),
            f"{one.seconds:.0f}",
        )
    kills, jobs = sum(one.kills for one in played), sum(one.jobs for one in played)
    lost, twice = sum(one.lost for one in played), sum(one.creates_twice for one in played)
    files = sum(one.files_twice for one in played)
    shown.caption = (
        f"{lost} of {jobs} jobs lost, {twice} created twice, {files} files twice, through {kills} deaths. "
        "To recover: from the end of the fault to the receiver's word, of the jobs that were open then."
    )
    return shown
