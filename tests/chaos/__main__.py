"""`make chaos`: every scenario, or those named; `--quick` plays them with few jobs. Exit 1 if a promise broke."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from tests.chaos.play import Played, play, table
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.world import World


@click.command()
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="a third of the jobs and of the faults")
@click.option("--keep", type=click.Path(path_type=Path), help="keep the logs of worlds with broken promises there")
def main(names: tuple[str, ...], *, quick: bool, keep: Path | None) -> None:
    """Play fault scenarios against the Procfile's processes and check every promise after each."""
    console = Console(width=None if sys.stdout.isatty() else 170)
    wanted = [
        name
        for name, scenario in SCENARIOS.items()
        if any(word.lower() in name.lower() for word in names) or not (names or scenario.by_name_only)
    ]
    if not wanted:
        raise click.UsageError(f"no scenario is called so; there are: {', '.join(SCENARIOS)}")
    began = time.monotonic()
    played: list[Played] = []
    while wanted:
        _play_until_broken(wanted, played, console, quick=quick, keep=keep)
    console.print(table(played))
    console.print(f"{len(played)} scenarios in {time.monotonic() - began:.0f} s")
    sys.exit(any(one.broken for one in played))


def _play_until_broken(
    wanted: list[str], played: list[Played], console: Console, *, quick: bool, keep: Path | None
) -> None:
    """Play on one world as long as it is whole: what one scenario breaks must not be charged to the next."""
    folder = Path(tempfile.mkdtemp(prefix="reelhook-chaos-"))
    with World(folder) as world:
        while wanted:
            name = wanted.pop(0)
            one = play(world, name, SCENARIOS[name], quick=quick)
            played.append(one)
            console.print(one.line(), highlight=False)
            for fault in one.broken:
                console.print(f"    {fault}", highlight=False, markup=False)
            if one.broken:
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    (folder / "logs").rename(keep / f"{name.replace(' ', '-')}-{time.time():.0f}")
                return


if __name__ == "__main__":
    main()
