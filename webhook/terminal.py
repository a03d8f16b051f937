"""What the commands of a terminal share: settings, words for what the database says, columns that nothing cuts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from infra.db import make_engine
from infra.settings import BadSettings, Settings, load
from worker.store.steps import why


def words_for(fault: Exception) -> str | None:
    """What ended a command, in a sentence; None where it takes a traceback to tell."""
    if isinstance(fault, BadSettings):  # an account's, which are read where they are asked for
        return str(fault)
    return why(fault) if isinstance(fault, DBAPIError) else None


def settings() -> Settings:
    """Those of the deployment. Raises `click.ClickException` that lists all that is wrong."""
    try:
        return load()
    except BadSettings as fault:
        raise click.ClickException(str(fault)) from None


def engine_of(those: Settings) -> Engine:
    """Connections that are given back when the command ends."""
    made = make_engine(those, application="reelhook-cli")
    click.get_current_context().call_on_close(made.dispose)
    return made


def show(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows as lines in columns. Nothing is cut or wrapped: ids are there to be copied, and found by grep."""
    lines = [headers, *([printable(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """`text` as one line that gives the terminal no orders: some of it was said by strangers."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
