"""How far the database is, beside how far this code needs it: asked by many, so without alembic, which is a fifth of a
second of imports. `worker.store.migrate` runs the steps.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from infra.db import is_away, is_behind

#: Where the steps lie, one a file, named by its number.
FOLDERS = (Path(__file__).parent / "migrations" / "versions",)
BEHIND = "the database is not at the step that this version needs: `reelhook migrate` brings it there"
#: What we call our steps.
_OURS = re.compile(r"\d{4}")


def why(fault: SQLAlchemyError) -> str | None:
    """What the database's refusal means for whoever runs it; None where only a programmer could tell."""
    if is_behind(fault):
        return BEHIND
    if not is_away(fault):
        return None
    return f"the database can't be reached, look at DATABASE_URL: {first_line(fault)}"


def first_line(fault: SQLAlchemyError) -> str:
    """The driver's own words, where they are its: it names host, port and user, and no password."""
    told = fault.orig if isinstance(fault, DBAPIError) and fault.orig else fault
    said = str(told).strip().splitlines()
    return said[0] if said else type(told).__name__


def is_ready(engine: Engine) -> bool:
    """Whether this code can work on the database: it is at the newest step that the code knows, or at a later one."""
    with engine.connect() as connection:
        return is_enough(at(connection))


def at(connection: Connection) -> str | None:
    """The step that the database is at, in alembic's table; None where it is at none. Several are another app's."""
    if connection.execute(text("select to_regclass('alembic_version')")).scalar() is None:
        return None
    return ", ".join(sorted(connection.execute(text("select version_num from alembic_version")).scalars())) or None


def is_enough(step: str | None) -> bool:
    """Whether `step` is the newest that this code knows, or a version after this one made it."""
    return step is not None and (step == newest() or (is_ours(step) and step not in known()))


def is_ours(step: str) -> bool:
    """Whether a version of Reelhook may have it: there is one line of steps, numbered, and none is ever taken out."""
    return bool(_OURS.fullmatch(step))


@cache
def known() -> frozenset[str]:
    """The steps that this code knows."""
    return frozenset(file.name[:4] for folder in FOLDERS for file in folder.glob("[0-9][0-9][0-9][0-9]*.py"))


def newest() -> str:
    """The newest of them."""
    return max(known())
