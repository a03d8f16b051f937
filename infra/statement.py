"""A statement that is compiled once and then run by the driver itself.

What every job asks for again and again costs 250 µs of CPU when SQLAlchemy builds, compares and wraps it each time,
and 50 µs so. Rows are named tuples; transactions, pool and errors stay SQLAlchemy's.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb
from sqlalchemy import JSON, Connection, Executable
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError

_DIALECT: Any = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy doesn't type it


class Statement:
    """An SQLAlchemy statement whose values are `bindparam`s. Called with a connection and the values.

    What stands in it after `in_` must be a list of `literal`s: the text has to be known before the values are.
    """

    def __init__(self, what: Executable) -> None:
        self._what: Any = what

    def __call__(self, connection: Connection, **values: Any) -> psycopg.Cursor[Any]:
        """Run it; the cursor has its rows. Raises what SQLAlchemy raises."""
        text, fixed, documents = self._compiled
        for name in documents & values.keys():
            values[name] = Jsonb(values[name])
        driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
        try:
            return driver.cursor(row_factory=namedtuple_row).execute(text, {**fixed, **values})
        except psycopg.Error as fault:
            if driver.closed:
                connection.invalidate(fault)
            raise DBAPIError.instance(
                text, {}, fault, psycopg.Error, hide_parameters=True, connection_invalidated=driver.closed,
                dialect=_DIALECT,
            ) from fault  # fmt: skip

    @cached_property
    def _compiled(self) -> tuple[str, dict[str, Any], frozenset[str]]:
        """Its text, the values that stand in it already, and the names of those that are JSON."""
        made = self._what.compile(dialect=_DIALECT)
        documents = (name for name, bind in made.binds.items() if isinstance(bind.type, JSON))
        return str(made), dict(made.construct_params(_check=False)), frozenset(documents)
