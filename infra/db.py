"""One engine a process, made after fork, small enough for a plan of 20 connections."""

from __future__ import annotations

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url

from infra.settings import Settings

#: Seconds that one statement, or the wait for a lock, may take: far below any platform's request limit.
STATEMENT_SECONDS = 10
LOCK_SECONDS = 5

_LOCAL_HOSTS = {None, "", "127.0.0.1", "localhost", "::1"}


def make_engine(settings: Settings, *, application: str) -> Engine:
    """An engine whose connections check that they are alive, and bound how long a statement may take.

    `application` shows in pg_stat_activity. To be made after fork: two processes on one socket corrupt both.
    """
    url = make_url(settings.database_url)
    if url.host not in _LOCAL_HOSTS and "sslmode" not in url.query:
        url = url.update_query_dict({"sslmode": "require"})
    return create_engine(
        url,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_size,
        pool_timeout=5,
        pool_recycle=300,
        pool_pre_ping=True,
        connect_args={
            "application_name": application,
            "connect_timeout": 5,
            "options": f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={LOCK_SECONDS}s -c timezone=UTC",
        },
    )
