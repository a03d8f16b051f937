"""What the tables are made of."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: With its zone.
MOMENT = DateTime(timezone=True)


def count(name: str) -> Column[int]:
    """A column that begins at nothing."""
    return Column(name, Integer, nullable=False, server_default=text("0"))
