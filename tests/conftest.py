"""What the suite stands on: the same embedded servers as the demo, started once, emptied between tests."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine, QueuePool, text

from infra.db import make_engine
from infra.object_store import ObjectStore
from infra.settings import Settings, load
from infra.stack.servers import Addresses, Servers
from worker.store.migrate import migrate
from worker.store.tables import metadata

#: How long data takes to make is the machine's affair, as is how long a test takes.
SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
hypothesis_settings.register_profile("suite", deadline=None, max_examples=100, suppress_health_check=SUPPRESSED)
hypothesis_settings.load_profile("suite")

_connect = socket.socket.connect


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make lives` plays the model of any order for longer than the suite does."""
    parser.addoption("--lives", type=int, default=20, help="orders that test_any_order plays (default: 20)")


def _loopback_only(self: socket.socket, address: Any) -> None:
    """Nothing in a test may leave the machine, not even by mistake."""
    if self.family in {socket.AF_INET, socket.AF_INET6} and not str(address[0]).startswith(
        ("127.", "::1", "localhost")
    ):
        raise AssertionError(f"a test tried to reach {address[0]}")
    _connect(self, address)


@pytest.fixture(autouse=True, scope="session")
def closed_network() -> Iterator[None]:
    """Sockets of this process reach loopback only."""
    socket.socket.connect = _loopback_only  # type: ignore[assignment,method-assign]  # the suite's own fence
    yield
    socket.socket.connect = _connect  # type: ignore[method-assign]  # and its end


@pytest.fixture(autouse=True, scope="session")
def clean_environment() -> Iterator[None]:
    """Settings of the person who runs the suite do not reach it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(
                ("S3_", "AWS_", "KLING", "REELHOOK_", "DATABASE_", "REDIS_", "CELERY_", "SSL_CERT_", "REQUESTS_CA_")
            ):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True, scope="session")
def heeded_interrupts() -> None:
    """Processes that tests start heed Ctrl-C, also where the suite was begun with `&`, by which it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def plain_tracebacks() -> None:
    """A traceback that is logged costs no seconds: painted, with all that was in each frame, it does."""
    structlog.get_config()["processors"][-1].exception_formatter = structlog.dev.plain_traceback


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """PostgreSQL, Redis and S3, real ones."""
    embedded = Servers(tmp_path_factory.mktemp("stack"), fast=True)
    with embedded:
        yield embedded
    embedded.discard()


def environment_for(
    addresses: Addresses, *, kling_url: str = "http://ak:sk@127.0.0.1:9", public_url: str = "http://127.0.0.1:9"
) -> dict[str, str]:
    """The settings of a deployment on the embedded servers, as variables; nobody is at the other two addresses."""
    return {
        **addresses.variables,
        "KLING_URL": kling_url,
        "PUBLIC_URL": public_url,
        "SECRET_KEY": secrets.token_hex(32),
        "REELHOOK_API_KEY": "rk_" + secrets.token_hex(16),
        "GUARD_ALLOW_CIDRS": "127.0.0.0/8",
    }


@pytest.fixture(scope="session")
def settings(servers: Servers) -> Settings:
    """Settings on the embedded servers, with nobody at the provider's address."""
    values = environment_for(servers.addresses)
    return load(values)


@pytest.fixture(scope="session")
def migrated(settings: Settings) -> Iterator[Engine]:
    """An engine on a database at the newest step."""
    engine = patient(make_engine(settings, application="tests"))
    migrate(engine)
    yield engine
    engine.dispose()


def patient(engine: Engine) -> Engine:
    """The same, for threads that race: who waits for one of its few connections does so until it is his turn, however
    busy the machine is.
    """
    cast("QueuePool", engine.pool)._timeout = 300
    return engine


def emptied(engine: Engine) -> Engine:
    """The same, with empty tables."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text(f"truncate {names} restart identity"))
    return engine


@pytest.fixture
def engine(migrated: Engine) -> Engine:
    """The same, with empty tables."""
    return emptied(migrated)


@pytest.fixture(scope="session")
def bucket(settings: Settings) -> ObjectStore:
    """The bucket on the embedded S3 server."""
    return ObjectStore(settings)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's own folder."""
    return Path(__file__).parent.parent
