"""Indexes of tables that are large and in use: built, and dropped, while others write.

PostgreSQL does that outside of a transaction only, so a step that does it does nothing else, and may be begun anew.
Source: https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from alembic import op
from sqlalchemy import text

_HALF_BUILT = text("select 1 from pg_index where indexrelid = to_regclass(:name) and not indisvalid")


def create_index(name: str, table: str, columns: Sequence[Any], **options: Any) -> None:
    """Build an index, unless it is there. What an attempt that was broken off left behind is built anew."""
    with _patiently():
        if op.get_bind().execute(_HALF_BUILT, {"name": name}).first():
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(name, table, list(columns), postgresql_concurrently=True, if_not_exists=True, **options)


def drop_index(name: str, table: str) -> None:
    """Drop an index, if it is there."""
    with _patiently():
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _patiently() -> Iterator[None]:
    """It waits until every transaction that is older has ended; nobody waits behind it meanwhile."""
    with op.get_context().autocommit_block():
        before = op.get_bind().execute(text("show lock_timeout")).scalar_one()
        op.execute("set lock_timeout = 0")
        yield
        op.execute(f"set lock_timeout = '{before}'")
