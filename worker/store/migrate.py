"""Bring the database to the newest step. Safe to run twice at once: a release phase may."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from infra.db import take_time

#: Any number will do, as long as it is always this one.
_LOCK = 7_263_001
#: Seconds that one step may take: an index on a large table wants minutes.
_STATEMENT_SECONDS = 1800


def migrate(engine: Engine) -> None:
    """Run the steps that are missing, one process at a time."""
    with engine.connect() as connection:
        connection.execute(text("set lock_timeout = '60s'"))
        take_time(connection, _STATEMENT_SECONDS)
        connection.execute(text("select pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        try:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("select pg_advisory_unlock(:lock)"), {"lock": _LOCK})
            connection.commit()
            connection.invalidate()


def is_current(engine: Engine) -> bool:
    """Whether the database is at the newest step that this code knows."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() == newest()


def newest() -> str | None:
    """The newest step that this code knows."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
