"""`make chaos`: every scenario and the headline, or those named; `--quick` plays small. Exit 1 if a promise broke."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from infra.stack.interrupt import Interrupted, one_interrupt
from tests.chaos import headline
from tests.chaos.lanes import LaneBroke, Player, side_by_side
from tests.chaos.play import Played, play_each, table
from tests.chaos.scenarios import SCENARIOS

_INTERRUPTED = 130


@click.command()
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="a third of the jobs and of the faults")
@click.option("--lanes", default=2, show_default=True, type=click.IntRange(1), help="scenarios at once")
@click.option("--jobs", default=2000, show_default=True, help="of the headline")
@click.option("--kills", default=100, show_default=True, help="of the headline")
@click.option("--wipes", default=10, show_default=True, help="of the headline")
@click.option("--seconds", default=200.0, show_default=True, help="of the headline: that jobs come in, at least")
@click.option("--keep", type=click.Path(path_type=Path), help="keep the logs of worlds with broken promises there")
def main(names: tuple[str, ...], *, quick: bool, lanes: int, keep: Path | None, **size: Any) -> None:
    """Play fault scenarios against the Procfile's processes and check every promise after each.

    NAMES are parts of the scenarios' names; `headline` is the long one, with plain Celery beside it.
    """
    console = Console(width=None if sys.stdout.isatty() else 170)
    wanted = [name for name in SCENARIOS if not names or any(word.lower() in name.lower() for word in names)]
    in_headline = not names or "headline" in names
    if not wanted and not in_headline:
        raise click.UsageError(f"no scenario is called so; there are: {', '.join(SCENARIOS)}, headline")
    if quick:
        size = {name: max(value // 10, 1) for name, value in size.items()}
    began = time.monotonic()
    try:
        with one_interrupt():
            whole = not wanted or _scenarios(wanted, lanes, partial(play_each, quick=quick, keep=keep), console)
            whole &= not in_headline or headline.run(headline.Size(**size), console)
    except Interrupted:
        console.print("interrupted: nothing runs any more")
        sys.exit(_INTERRUPTED)
    except LaneBroke as fault:
        sys.exit(f"{fault}: nothing runs any more")
    console.print(f"{time.monotonic() - began:.0f} s in all")
    sys.exit(not whole)


def _scenarios(wanted: Sequence[str], lanes: int, player: Player[Played], console: Console) -> bool:
    """Play them, say of each how it ended, and show all; whether every promise was kept."""
    began = time.monotonic()
    played: list[Played] = []
    try:
        with closing(side_by_side(wanted, lanes, player)) as results:
            for one in results:
                played.append(one)
                console.print(one.line(), highlight=False)
                for fault in one.broken:
                    console.print(f"    {fault}", highlight=False, markup=False)
    finally:
        if played:
            console.print(table(sorted(played, key=lambda one: wanted.index(one.name))))
            console.print(f"{len(played)} scenarios in {time.monotonic() - began:.0f} s, {lanes} at once")
    return not any(one.broken for one in played)


if __name__ == "__main__":
    main()
