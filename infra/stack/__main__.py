"""`python -m infra.stack`: Reelhook with everything under it, on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich.console import Console

from infra.stack import demo as the_demo
from infra.stack import up as the_up
from infra.stack.deployment import SPEED
from infra.stack.interrupt import Interrupted
from infra.stack.process import StackError
from infra.stack.supervisor import supervise as run_supervisor

_STATE = ".reelhook"
_INTERRUPTED = 130


@click.group(help=__doc__)
def main() -> None:
    """Hold the commands."""


@main.command()
def up() -> None:
    """Leave the whole stack running, and print how to use it."""
    the_up.up(Path.cwd() / _STATE, Console())


@main.command()
def down() -> None:
    """End what `up` left running."""
    the_up.down(Path.cwd() / _STATE, Console())


@main.command()
def status() -> None:
    """Say what runs (exit code 0), or that nothing does (3)."""
    sys.exit(0 if the_up.status(Path.cwd() / _STATE, Console()) else 3)


@main.command()
@click.option("--prompt", help="also make a video of this text")
@click.option("--speed", default=SPEED, show_default=True, help="how much faster than Kling the emulator is")
def demo(prompt: str | None, speed: float) -> None:
    """Run the main job end to end and prove every file."""
    sys.exit(the_demo.run(Console(), prompt=prompt, speed=speed))


@main.command(hidden=True)
@click.option("--state", type=click.Path(path_type=Path), required=True)
def supervise(state: Path) -> None:
    """The process behind `up`."""
    sys.exit(run_supervisor(state))


def run() -> None:
    """Run a command; a part that can't run is one clear message."""
    try:
        main(standalone_mode=False)
    except click.ClickException as fault:
        fault.show()
        sys.exit(fault.exit_code)
    except StackError as fault:
        sys.stdout.flush()
        click.echo(f"\nReelhook's stack can't run: {fault}", err=True)
        sys.exit(1)
    except (Interrupted, click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        # Threads of the servers may be ending still, and nothing is left to do.
        sys.stdout.flush()
        os._exit(_INTERRUPTED)


if __name__ == "__main__":
    run()
