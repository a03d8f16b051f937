"""How many connections a deployment holds, against how many its servers allow: small plans have twenty.

A deploy runs old and new at once for a while, so the plan has to allow twice what one deployment holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from infra.db import make_engine
from infra.settings import Settings
from worker.store.steps import first_line

_SECONDS = 5
#: Of all that may say no, the least that is said counts: the server, the database, the role.
_ALLOWED = text("""
select least(
    current_setting('max_connections')::int - case when r.rolsuper then 0
        else current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true)::int, 0) end,
    nullif(r.rolconnlimit, -1), nullif(d.datconnlimit, -1)
) as allowed, (select count(*) from pg_stat_activity where backend_type = 'client backend') - 1 as used
from pg_roles r, pg_database d where r.rolname = current_user and d.datname = current_database()
""")


@dataclass(frozen=True)
class Holder:
    """One kind of process: how many there are, and how many connections each of them keeps."""

    name: str
    count: int
    postgres: int
    broker: int


@dataclass(frozen=True)
class Room:
    """What one server allows, and what is wanted of it. None where it does not say."""

    server: str
    needed: int  #: by one deployment
    allowed: int | None
    used: int | None  #: at this moment, by whomever
    fault: str | None = None  #: why it could not be asked

    @property
    def good(self) -> bool | None:
        """Whether a deploy fits, too; None where nobody knows."""
        if self.fault:
            return False
        return None if self.allowed is None else self.allowed >= 2 * self.needed

    @property
    def words(self) -> str:
        """The same for a person."""
        if self.fault:
            return self.fault
        held = f"a deployment holds {self.needed}, a deploy runs two: {2 * self.needed}"
        if self.allowed is None:
            return f"{held}; the server does not say how many it allows"
        said = f"{held} of {self.allowed} allowed, {self.used} in use now"
        if self.good:
            return said
        tight = "two do not fit: jobs wait during a deploy" if self.allowed >= self.needed else "not even one fits"
        return f"{said}; {tight}. Lower WORKER_CONCURRENCY or WEB_CONCURRENCY, or take a larger plan"


def holders(settings: Settings) -> list[Holder]:
    """Who holds connections. Measured on the running processes by tests/e2e/test_overlap.py."""
    return [
        Holder("web", settings.web_concurrency, settings.database_pool_size, 1),
        Holder("worker", 1, 0, 2),
        Holder("worker's children", settings.worker_concurrency, 1, 1),
        Holder("beat", 1, 0, 1),
    ]


def rooms(settings: Settings) -> list[Room]:
    """What both servers allow, asked of them."""
    held = holders(settings)
    needed = sum(one.count * one.postgres for one in held), sum(one.count * one.broker for one in held)
    return [_postgres(settings, needed[0]), _broker(settings.broker_url, needed[1])]


def _postgres(settings: Settings, needed: int) -> Room:
    engine = make_engine(settings, application="reelhook-doctor", connections=1)
    try:
        with engine.connect() as connection:
            row = connection.execute(_ALLOWED).one()
    except OperationalError as fault:
        return Room("PostgreSQL", needed, None, None, f"can't be reached: {first_line(fault)}")
    finally:
        engine.dispose()
    return Room("PostgreSQL", needed, row.allowed, row.used)


def _broker(url: str, needed: int) -> Room:
    if not url.startswith("redis"):
        return Room("broker", needed, None, None)
    client: Any = redis.Redis.from_url(
        url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS, retry=Retry(NoBackoff(), 0)
    )
    try:
        said = client.info("clients")
        allowed = said.get("maxclients") or _configured(client)
    except redis.RedisError as fault:
        return Room("Redis", needed, None, None, f"can't be reached: {type(fault).__name__}")
    finally:
        client.close()
    return Room("Redis", needed, allowed, int(said["connected_clients"]) - 1)


def _configured(client: Any) -> int | None:
    """What an older server says only where CONFIG is allowed; many platforms forbid it."""
    try:
        return int(client.config_get("maxclients")["maxclients"])
    except (redis.ResponseError, KeyError):
        return None
