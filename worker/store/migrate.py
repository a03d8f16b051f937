"""Bring the database to the newest step, while the version before this one works on. Safe to run twice at once.

Steps only add, so the code of the version before goes on with them: a deploy runs both for a while.
"""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic, sleep

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from infra.db import sqlstate, take_time
from infra.log import logger
from worker.store import steps

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


def _went(connection: Connection, *, last: bool) -> bool:
    """Run what is missing; False where somebody held a table that is wanted, unless this is the `last` attempt."""
    try:
        connection.execute(text("select pg_advisory_lock(:lock)"), {"lock": _LOCK})
        here = steps.at(connection)
        connection.commit()
        if here is not None and not steps.is_ours(here):
            raise NotOurs(f"its table alembic_version says {here!r}, another app's step")
        if not steps.is_enough(here):
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
    config.set_main_option("version_locations", os.pathsep.join(map(str, steps.FOLDERS)))
    return config
