"""A database that takes what we say and answers nothing, and one that no longer waits for what we say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, literal, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import base as pooling

from infra import db
from infra.settings import Settings
from infra.stack.servers import Servers
from infra.statement import Statement
from tests.integration.emulator_kit import until
from tests.proxy import FaultProxy

ONE = Statement(select(literal(1)))


@pytest.fixture
def proxy(servers: Servers) -> Iterator[FaultProxy]:
    """A way to the database that can fail."""
    with FaultProxy("127.0.0.1", servers.postgres.port) as between:
        yield between


def test_a_silent_database_is_given_up_in_time(
    proxy: FaultProxy, servers: Servers, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5: a statement on a connection that has gone silent fails after a limit; the next one finds the way again."""
    url = settings.database_url.replace(f":{servers.postgres.port}/", f":{proxy.port}/")
    engine = db.make_engine(settings.model_copy(update={"database_url": url}), application="tests")
    with engine.connect() as connection:
        connection.execute(text("select 1"))
        proxy.blackhole()
        began = time.monotonic()
        with monkeypatch.context() as patch:
            patch.setattr(db, "ANSWER_SECONDS", 0.5)  # for this one alone: whoever is answered has more time than that
            # It is we who give up: the server would do it, too, in half a minute.
            with pytest.raises(OperationalError, match="wait timeout expired") as caught:
                connection.execute(text("select 2"))
        took = time.monotonic() - began
    proxy.heal()

    assert (True, True) == (caught.value.connection_invalidated, took > 0.4)
    with engine.connect() as connection:
        assert 3 == connection.execute(text("select 3")).scalar_one()
    engine.dispose()


def test_a_connection_that_stands_is_not_given_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """P5: however old it is, for a server that is out of connections may have no other to give."""
    engine = db.make_engine(settings, application="tests", connections=1)
    pids = []
    for days in (0, 30):
        monkeypatch.setattr(pooling, "time", SimpleNamespace(time=lambda days=days: time.time() + days * 86400))
        with engine.connect() as connection:
            pids.append(connection.execute(text("select pg_backend_pid()")).scalar_one())
    engine.dispose()

    assert pids[0] == pids[1]


def end(pid: int, other: Engine) -> None:
    """Have the server end a connection. It says farewell, and goes."""
    with db.single(other).connect() as connection:
        connection.execute(text("select pg_terminate_backend(:pid)"), {"pid": pid})
        until(
            lambda: (
                not connection.execute(text("select 1 from pg_stat_activity where pid = :pid"), {"pid": pid}).first()
            )
        )


@pytest.fixture
def alone(settings: Settings) -> Iterator[Engine]:
    """An engine of one connection."""
    made = db.make_engine(settings, application="tests", connections=1)
    yield made
    made.dispose()


def test_a_connection_that_the_server_ended_is_not_used_again(alone: Engine, engine: Engine) -> None:
    """P5: a restarted server costs no request: its farewell is seen before the next statement leaves."""
    with alone.connect() as connection:
        pid = connection.execute(text("select pg_backend_pid()")).scalar_one()
    end(pid, engine)

    with alone.connect() as connection:
        assert pid != connection.execute(text("select pg_backend_pid()")).scalar_one()


def test_a_server_that_ends_each_connection_is_away(alone: Engine, engine: Engine) -> None:
    """P5: one that is dead before its first use, in place of one that died, is no fault of ours: 503, and no 500."""
    with alone.connect() as connection:
        pid = connection.execute(text("select pg_backend_pid()")).scalar_one()
    end(pid, engine)
    event.listen(alone, "connect", lambda new, _: end(new.info.backend_pid, engine))
    for ask in (ONE.alone, lambda other: other.connect().execute(select(1))):
        with pytest.raises(OperationalError) as fault:
            ask(alone)
        assert db.is_away(fault.value)


def test_a_long_statement_has_its_time_where_it_is_given(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that builds an index for minutes is not given up as a silent server is."""
    engine = db.make_engine(settings, application="tests", connections=1)
    with engine.connect() as connection:
        db.take_time(connection, 30)
        monkeypatch.setattr(db, "ANSWER_SECONDS", 0.2)

        assert "" == connection.execute(text("select pg_sleep(0.5)::text")).scalar_one()
    engine.dispose()


@pytest.mark.parametrize(
    "ask",
    [ONE, lambda connection: connection.execute(select(literal(1)))],
    ids=["statement", "text"],
)
def test_a_transaction_that_stood_still_is_not_held_against_its_work(
    engine: Engine, ask: Callable[[Connection], object]
) -> None:
    """Who was stopped for longer than the server waits finds that it was away, and a new connection the next time.

    Whether its last words are read before the end of the connection is a matter of luck; what they are is told below.
    """
    there = text("select count(*) from pg_stat_activity where pid = :pid")
    with engine.connect() as connection:
        pid = connection.execute(text("select pg_backend_pid()")).scalar_one()
        connection.execute(text("set local idle_in_transaction_session_timeout = '1ms'"))
        with db.single(engine).connect() as other:
            until(lambda: 0 == other.execute(there, {"pid": pid}).scalar_one())
        with pytest.raises(DBAPIError) as fault:
            ask(connection)

    assert db.is_away(fault.value)
    with engine.connect() as again:
        assert 1 == again.execute(select(literal(1))).scalar_one()


@pytest.mark.parametrize("code", ["08006", "25006", "25P03", "25P04", "53300", "57P01"])
def test_what_the_server_says_of_itself_is_not_about_the_work(code: str) -> None:
    """Whatever class the driver files it under: it is away, and nothing that was asked of it is to blame."""
    said = psycopg.errors.lookup(code)(code)

    assert db.is_away(DBAPIError.instance(None, {}, said, psycopg.Error))
