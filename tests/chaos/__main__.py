"""`make chaos`: every scenario and the headline, or those named; `--quick` plays small. Exit 1 if a promise broke."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from tests.chaos import headline
from tests.chaos.play import Played, play, table
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.world import World


@click.command()
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="a third of the jobs and of the faults")
@click.option("--jobs", default=2000, show_default=True, help="of the headline")
@click.option("--kills", default=100, show_default=True, help="of the headline")
@click.option("--wipes", default=10, show_default=True, help="of the headline")
@click.option("--seconds", default=200.0, show_default=True, help="of the headline: that jobs come in and blows fall")
@click.option("--keep", type=click.Path(path_type=Path), help="keep the logs of worlds with broken promises there")
def main(names: tuple[str, ...], *, quick: bool, keep: Path | None, **size: Any) -> None:
    """Play fault scenarios against the Procfile's processes and check every promise after each.

    NAMES are parts of the scenarios' names; `headline` is the long one, with plain Celery beside it.
    """
    console = Console(width=None if sys.stdout.isatty() else 170)
    wanted = [name for name in SCENARIOS if not names or any(word.lower() in name.lower() for word in names)]
    in_headline = not names or "headline" in names
    if not wanted and not in_headline:
        raise click.UsageError(f"no scenario is called so; there are: {', '.join(SCENARIOS)}, headline")
    began = time.monotonic()
    played: list[Played] = []
    while wanted:
        _play_until_broken(wanted, played, console, quick=quick, keep=keep)
    if played:
        console.print(table(played))
        console.print(f"{len(played)} scenarios in {time.monotonic() - began:.0f} s")
    if quick:
        size = {name: max(value // 10, 1) for name, value in size.items()}
    whole = not in_headline or headline.run(headline.Size(**size), console)
    console.print(f"{time.monotonic() - began:.0f} s in all")
    sys.exit(not whole or any(one.broken for one in played))


def _play_until_broken(
    wanted: list[str], played: list[Played], console: Console, *, quick: bool, keep: Path | None
) -> None:
    """Play on one world as long as it is whole: what one scenario breaks must not be charged to the next."""
    folder = Path(tempfile.mkdtemp(prefix="reelhook-chaos-"))
    more = SCENARIOS[wanted[0]].more
    with World(folder, more=more) as world:
        while wanted and SCENARIOS[wanted[0]].more == more:
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
