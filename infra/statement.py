"""A statement that is compiled once and then run by the driver itself.

What every job asks for again and again costs 250 µs of CPU when SQLAlchemy builds, compares and wraps it each time,
and 50 µs so. Rows are named tuples; transactions, pool and errors stay SQLAlchemy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import psycopg
from psycopg.rows import RowMaker, namedtuple_row
from psycopg.types.json import Jsonb
from sqlalchemy import JSON, Connection, Engine, Executable, PoolProxiedConnection, TextClause, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError

from infra.db import Bounded, is_left_behind

_DIALECT: Any = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy doesn't type it


class Rows(list[Any]):
    """What a statement gave: all of it is here, so its connection may be used by others. `rowcount`: rows concerned."""

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        came = cursor.pgresult  # its `description` would be made anew each time, with all columns
        super().__init__(cursor.fetchall() if came is not None and came.nfields else ())
        self.rowcount = cursor.rowcount

    def fetchone(self) -> Any:
        """The first, or None."""
        return self[0] if self else None


class _Kept(psycopg.Cursor[Any]):
    """A cursor of one statement on one connection, which stays: for each new one the driver looks up anew how values of
    each type are written and read, which costs a third of what a statement does.
    """

    def let_go(self) -> None:
        """Drop what came, which may be megabytes; as when it is closed, but it can be used again."""
        self._reset()
        self._tx.set_pgresult(None)


class Statement:
    """An SQLAlchemy statement whose values are `bindparam`s. Called with a connection and the values.

    What stands in it after `in_` must be a list of `literal`s: the text has to be known before the values are.
    """

    def __init__(self, what: Executable) -> None:
        self._what: Any = what
        self._maker: RowMaker[Any] | None = None

    def __call__(self, connection: Connection, **values: Any) -> Rows:
        """Run it in the connection's transaction. Raises what SQLAlchemy raises."""
        return self._on(connection.connection, connection.invalidate, values)

    def alone(self, engine: Engine, **values: Any) -> Rows:
        """Run it as a transaction of its own, with no BEGIN and no COMMIT to wait for. As a call otherwise."""
        try:
            held = engine.raw_connection()
        except psycopg.Error as fault:
            raise _as_ever(fault, lost=True) from fault
        try:
            return self._on(held, held.invalidate, values)
        finally:
            held.close()

    def _on(
        self, held: PoolProxiedConnection, invalidate: Callable[[BaseException], None], values: dict[str, Any]
    ) -> Rows:
        """`invalidate`: tells whoever has the connection that it is of no more use."""
        driver: Bounded = held.driver_connection  # type: ignore[assignment]
        try:
            return self._run(driver, values)
        except psycopg.Error as fault:
            if driver.closed or is_left_behind(fault):
                invalidate(fault)
            raise _as_ever(fault, lost=driver.closed) from fault

    def _run(self, driver: Bounded, values: dict[str, Any]) -> Rows:
        words, fixed, documents = self._compiled
        for name in documents & values.keys():
            values[name] = Jsonb(values[name])
        cursor = driver.cursors.get(self)
        if cursor is None:
            cursor = driver.cursors[self] = _Kept(driver, row_factory=self._rows)
        try:
            return Rows(cursor.execute(words, {**fixed, **values}))
        finally:
            cursor.let_go()

    def _rows(self, cursor: psycopg.Cursor[Any]) -> RowMaker[Any]:
        """Named tuples, whose class is made once."""
        if self._maker is None and cursor.description:
            self._maker = namedtuple_row(cursor)
        return self._maker or namedtuple_row(cursor)

    @cached_property
    def _compiled(self) -> tuple[str, dict[str, Any], frozenset[str]]:
        """Its text, the values that stand in it already, and the names of those that are JSON."""
        made = self._what.compile(dialect=_DIALECT)
        documents = (name for name, bind in made.binds.items() if isinstance(bind.type, JSON))
        return str(made), dict(made.construct_params(_check=False)), frozenset(documents)


def of_parts(parts: Mapping[str, str], result: str) -> TextClause:
    """A statement of parts, each one under a name, and what it returns."""
    return text(f"with {', '.join(f'{name} as ({part})' for name, part in parts.items())} {result}")


def _as_ever(fault: psycopg.Error, *, lost: bool) -> Exception:
    """The error that SQLAlchemy would raise. What the statement was to store is not in it."""
    made: Exception = DBAPIError.instance(
        None, {}, fault, psycopg.Error, hide_parameters=True, connection_invalidated=lost, dialect=_DIALECT
    )
    return made
