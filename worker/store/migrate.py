"""Bring the database to the newest step, while the version before this one works on. Safe to run twice at once.

Steps only add, so the code of the version before goes on with them: a deploy runs both for a while.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from time import monotonic, sleep

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from infra.db import sqlstate, take_time
from infra.log import logger

log = logger(__name__)

#: Any number will do, as long as it is always this one.
_LOCK = 7_263_001
#: Seconds that one step may take: an index on a large table wants minutes.
_STATEMENT_SECONDS = 1800
#: Seconds that a step waits for a table that somebody reads or writes, a dump for instance. All who come after it wait
#: behind it, callbacks too, so it gives way soon, lets them pass, and tries again.
_LOCK_SECONDS = 2
_PAUSE_SECONDS = 2.0
#: Seconds for which it tries.
_PATIENCE_SECONDS = 900
_LOCK_NOT_AVAILABLE = "55P03"
#: What we call our steps.
_OURS = re.compile(r"\d{4}")


class NotOurs(Exception):
    """Alembic's table says a step that no version of Reelhook has: another app's migrations have been here."""


def migrate(engine: Engine) -> None:
    """Run the steps that are missing, one process at a time. A database that a later version has been at is let be.

    Raises `OperationalError` when the database can't be reached, or a table was in use all the time; `NotOurs`.
    """
    end = monotonic() + _PATIENCE_SECONDS
    with engine.connect() as connection:
        connection.execute(text(f"set lock_timeout = '{_LOCK_SECONDS}s'"))
        take_time(connection, _STATEMENT_SECONDS)
        connection.commit()
        try:
            while not _went(connection, last=monotonic() > end):
                sleep(_PAUSE_SECONDS)
        finally:
            connection.invalidate()


def is_ready(engine: Engine) -> bool:
    """Whether this code can work on the database: it is at the newest step that the code knows, or at a later one."""
    with engine.connect() as connection:
        return _is_enough(connection)


@cache
def newest() -> str | None:
    """The newest step that this code knows."""
    return ScriptDirectory.from_config(_config()).get_current_head()


@cache
def _known() -> frozenset[str]:
    return frozenset(step.revision for step in ScriptDirectory.from_config(_config()).walk_revisions())


def _is_enough(connection: Connection) -> bool:
    here = MigrationContext.configure(connection).get_current_revision()
    return here is not None and (here == newest() or _is_later(here))


def _is_later(step: str) -> bool:
    """Whether a version after this one made it: there is one line of steps, numbered, and none is ever taken out."""
    return bool(_OURS.fullmatch(step)) and step not in _known()


def _went(connection: Connection, *, last: bool) -> bool:
    """Run what is missing; False where somebody held a table that is wanted, unless this is the `last` attempt."""
    try:
        connection.execute(text("select pg_advisory_lock(:lock)"), {"lock": _LOCK})
        enough = _is_enough(connection)
        here = MigrationContext.configure(connection).get_current_revision()
        connection.commit()
        if here is not None and not _OURS.fullmatch(here):
            raise NotOurs(f"its table alembic_version says {here!r}, another app's step")
        if not enough:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except OperationalError as fault:
        if last or sqlstate(fault) != _LOCK_NOT_AVAILABLE:
            raise
        log.warning("migrate.in_use", seconds=_LOCK_SECONDS, again_in=_PAUSE_SECONDS)
        connection.rollback()
        connection.execute(text("select pg_advisory_unlock_all()"))
        connection.commit()
        return False
    return True


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
