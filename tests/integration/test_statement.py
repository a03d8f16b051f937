from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, Integer, Text, bindparam, text
from sqlalchemy.exc import DBAPIError

from infra.statement import Statement

_DIVIDED = text("select 12 / :by as whole, repeat(:word, :by) as words").bindparams(
    bindparam("by", type_=Integer), bindparam("word", type_=Text)
)


def test_a_statement_serves_again_after_a_failure_and_in_a_transaction(engine: Engine) -> None:
    """What one call met, an error too, changes nothing for the next call on the same connection."""
    asked = Statement(_DIVIDED)
    first = asked.alone(engine, by=2, word="a")
    with pytest.raises(DBAPIError):
        asked.alone(engine, by=0, word="a")
    with engine.begin() as connection:
        second = asked(connection, by=3, word="b")
    assert [[(6, "aa")], [(4, "bbb")]] == [first, second]


def test_a_kept_cursor_holds_nothing_of_what_came(engine: Engine) -> None:
    """Megabytes that a row had are not held until the same is asked again."""
    asked = Statement(_DIVIDED)
    with engine.begin() as connection:
        (row,) = asked(connection, by=3, word="x" * 2**20)
        driver: Any = connection.connection.driver_connection
        held = driver.cursors[asked]
        assert (3 * 2**20, None, None) == (len(row.words), held.pgresult, held._tx.pgresult)
