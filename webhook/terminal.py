"""What the commands of a terminal share: settings, words for what the database says, columns that nothing cuts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from infra.db import is_away, make_engine, sqlstate
from infra.settings import BadSettings, Settings, load

#: A table or a column is not there, or no schema to look for it in.
#: Source: https://www.postgresql.org/docs/current/errcodes-appendix.html.
_NOT_MIGRATED = frozenset({"42P01", "42703", "3F000"})
BEHIND = "the database is not at the step that this version needs: `reelhook migrate` brings it there"


class Commands(click.Group):
    """Commands that say in a sentence what the database refuses; a traceback would bury it under statements."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the one that was asked for. Raises `click.ClickException` where settings or database are wrong."""
        try:
            return super().invoke(ctx)
        except BadSettings as fault:  # an account's, which are read where they are asked for
            raise click.ClickException(str(fault)) from None
        except DBAPIError as fault:
            if words := why(fault):
                raise click.ClickException(words) from None
            raise


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


def why(fault: DBAPIError) -> str | None:
    """What the database's refusal means for whoever runs it; None where only a programmer could tell."""
    if sqlstate(fault) in _NOT_MIGRATED:
        return BEHIND
    if is_away(fault):
        return f"the database can't be reached, look at DATABASE_URL: {first_line(fault)}"
    return None


def first_line(fault: DBAPIError) -> str:
    """The driver's own words: it names host, port and user, and no password."""
    said = str(fault.orig).strip().splitlines()
    return said[0] if said else type(fault.orig).__name__


def show(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows as lines in columns. Nothing is cut or wrapped: ids are there to be copied, and found by grep."""
    lines = [headers, *([printable(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """`text` as one line that gives the terminal no orders: some of it was said by strangers."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
