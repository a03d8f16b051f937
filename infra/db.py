"""One engine a process, made after fork, small enough for a plan of 20 connections."""

from __future__ import annotations

import select
from functools import cached_property
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from infra.settings import Settings

#: Seconds that one statement, or the wait for a lock, may take: far below any platform's request limit.
STATEMENT_SECONDS = 10
LOCK_SECONDS = 5
#: Seconds that we wait for the server's word. Its own limits are no help once it says nothing at all.
ANSWER_SECONDS = STATEMENT_SECONDS + 2

#: Where an engine whose connections make transactions names the one whose connections don't.
_SINGLE = "reelhook_single"

#: What the server says of itself, by the beginning of its five characters: no connection, no room left, going down or
#: coming up, for reading only as the old one is after a fail-over, or that it ended a transaction which stood still or
#: took too long, and the connection with it.
#: Source: https://www.postgresql.org/docs/current/errcodes-appendix.html.
_READ_ONLY = "25006"
_ENDED = ("25P03", "25P04")
_AWAY = ("08", "53", "57P", _READ_ONLY, *_ENDED)
#: There is no such table or column, no schema to look for it in, or no index that makes a row the only one: steps of
#: the database are missing.
_BEHIND = frozenset({"42P01", "42703", "3F000", "42P10"})

#: Seconds after which the server takes the locks back of a client that stopped in mid-transaction, or whose host is
#: gone: it would wait two hours to notice.
IDLE_SECONDS = 30
_OPTIONS = {
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
    "tcp_keepalives_idle": IDLE_SECONDS,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
    "timezone": "UTC",
}

_Answer = TypeVar("_Answer")
_LOCAL_HOSTS = {None, "", "127.0.0.1", "localhost", "::1"}


def make_engine(
    settings: Settings, *, application: str, connections: int | None = None, lock_seconds: float = LOCK_SECONDS
) -> Engine:
    """An engine of at most so many connections, DATABASE_POOL_SIZE unless said, which bound what a statement may take.

    `application` shows in pg_stat_activity. To be made after fork: two processes on one socket corrupt both.
    """
    url = make_url(settings.database_url)
    if url.host not in _LOCAL_HOSTS and "sslmode" not in url.query:
        url = url.update_query_dict({"sslmode": "require"})
    options = {**_OPTIONS, "lock_timeout": f"{lock_seconds * 1000:.0f}ms"}
    engine = create_engine(
        url,
        pool_size=connections or settings.database_pool_size,
        max_overflow=0,
        # What a statement was to store is in no error text: a request, a key that is sealed.
        hide_parameters=True,
        # One that stands is never given up for its age: where the server has no other left, nothing could be stored.
        pool_timeout=5,
        # Most of what is asked is one statement; who wants a transaction says so below, and only then is it paid for.
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        connect_args={
            "application_name": application,
            "connect_timeout": 5,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        },
    )
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "checkout", _still_there)
    event.listen(engine, "handle_error", _may_have_moved)
    return engine.execution_options(isolation_level="READ COMMITTED", **{_SINGLE: engine})


def single(engine: Engine) -> Engine:
    """The same connections for statements that are a transaction of their own: no BEGIN and no COMMIT to wait for."""
    made: Engine = engine.get_execution_options()[_SINGLE]
    return made


def sqlstate(fault: BaseException) -> str | None:
    """The five characters in which PostgreSQL says what is wrong; None where it said nothing."""
    return getattr(getattr(fault, "orig", None), "sqlstate", None)


def is_away(fault: BaseException) -> bool:
    """Whether the database can't do its work just now, whatever it is asked: coming again later may help."""
    if isinstance(fault, DBAPIError):
        state = sqlstate(fault)
        if not state:
            return isinstance(fault, OperationalError | InterfaceError)
        return state.startswith(_AWAY) or state in _BEHIND
    return isinstance(fault, PoolTimeout)


def is_behind(fault: BaseException) -> bool:
    """Whether the database lacks what this version stores: it is away, for as long as nobody brings it forward."""
    return sqlstate(fault) in _BEHIND


def take_time(connection: Connection, seconds: int) -> None:
    """Let statements on this connection take so long, for work that no request waits for. Invalidate it afterwards."""
    connection.execute(text(f"set statement_timeout = '{seconds}s'"))
    driver: Any = connection.connection.driver_connection
    driver.patience = seconds + ANSWER_SECONDS - STATEMENT_SECONDS


class Bounded(psycopg.Connection[Any]):
    """A connection on which nobody waits for ever: a server that takes bytes and is silent counts as gone."""

    #: Seconds for a statement that is known to be long, see `take_time`.
    patience: float | None = None
    #: Whether anybody has had it yet.
    used = False

    @cached_property
    def cursors(self) -> dict[object, Any]:
        """Those that are used again, by whose they are."""
        return {}

    def wait(self, gen: PQGen[_Answer], interval: float = 0.1, timeout: float | None = None) -> _Answer:
        """Wait as the base class does, but never without a limit. Raises `psycopg.OperationalError`."""
        try:
            return super().wait(gen, interval, timeout or self.patience or ANSWER_SECONDS)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                # Nobody knows what the server did with it: nothing else may be asked on this connection.
                self.close()
            raise


def _connect(_dialect: Any, _record: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Bounded:
    return Bounded.connect(*arguments, **options)


def is_left_behind(fault: BaseException) -> bool:
    """Whether another server may have taken this one's place: its address has to be asked for again."""
    return getattr(fault, "sqlstate", None) == _READ_ONLY


def _may_have_moved(context: ExceptionContext) -> None:
    if is_left_behind(context.original_exception):
        context.is_disconnect = True


def _still_there(connection: Bounded, _record: Any, _proxy: Any) -> None:
    """Nothing comes on an idle connection but the server's farewell. To look costs nothing, to ask it a round trip.

    A new one is not looked at: were it gone as well, SQLAlchemy would give up with an error that names no server, where
    the first statement says that it is away.
    """
    if not connection.used:
        connection.used = True
        return
    idle = select.poll()
    idle.register(connection.fileno(), select.POLLIN)
    if idle.poll(0):
        raise DisconnectionError("the server hung up")
