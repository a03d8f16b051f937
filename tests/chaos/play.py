"""One scenario from its first job to the verdict, and many as a table."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from rich.table import Table

from infra.stack.process import StackError
from tests.chaos.promises import judge
from tests.chaos.scenarios import Scenario
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
        after = f", recovered in {max(self.recovery):.1f} s at worst" if self.recovery else ""
        return f"{self.name:<30} {self.jobs:>3} jobs {self.kills:>3} kills {self.seconds:>4.0f} s  {verdict}{after}"


def play(world: World, name: str, scenario: Scenario, *, quick: bool = False) -> Played:
    """Play a scenario, wait for recovery, judge."""
    began = time.monotonic()
    part = _QUICK if quick else 1
    stopped = []
    with world.scenario(name) as run:
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


def table(played: list[Played]) -> Table:
    """The result."""
    shown = Table(title="Chaos: what was lost, and how long recovery took")
    for column in ("scenario", "verdict"):
        shown.add_column(column)
    numbers = (
        "jobs",
        "kills",
        "lost",
        "created twice",
        "files twice",
        "turned away",
        "slowest answer s",
        "recovery median s",
        "worst s",
        "PG, Redis conns",
        "took s",
    )
    for column in numbers:
        shown.add_column(column, justify="right")
    for one in played:
        median, worst = (statistics.median(one.recovery), max(one.recovery)) if one.recovery else (0, 0)
        shown.add_row(
            one.name,
            "[red]BROKEN[/red]" if one.broken else "[green]kept[/green]",
            *map(str, (one.jobs, one.kills, one.lost, one.creates_twice, one.files_twice, one.turned_away)),
            f"{one.slowest:.1f}",
            f"{median:.1f}",
            f"{worst:.1f}",
            "{} {}".format(*one.connections),
            f"{one.seconds:.0f}",
        )
    kills, jobs = sum(one.kills for one in played), sum(one.jobs for one in played)
    lost, twice = sum(one.lost for one in played), sum(one.creates_twice for one in played)
    shown.caption = f"{lost} of {jobs} jobs lost, {twice} created twice, through {kills} deaths"
    return shown
