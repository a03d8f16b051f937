"""The truth of a deployment, asked around Reelhook and around the proxies, by clients that are not ours."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
import requests
from psycopg.rows import dict_row

from infra.settings import load
from infra.stack import s3
from infra.stack.deployment import PROJECT, Deployment
from worker.jobs.retry import ABSENT_SECONDS


class Truth:
    """What is so, whatever Reelhook says."""

    def __init__(self, deployment: Deployment, temporary: Path) -> None:
        self.deployment = deployment
        self._temporary = temporary
        #: Connections that nobody uses just now; a deque, for several threads ask.
        self._idle: deque[psycopg.Connection[dict[str, Any]]] = deque()

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What the database says, asked directly."""
        while True:
            known = self._kept()
            connection = known or self._connect()
            try:
                found = connection.execute(query.encode(), values).fetchall()
            except psycopg.OperationalError:
                connection.close()
                if known is None:
                    raise  # a connection that was idle may have been killed by the scenario, a new one was not
            else:
                self._idle.append(connection)
                return found

    def forget(self) -> None:
        """Close the connections that `rows` keeps."""
        while self._idle:
            self._idle.pop().close()

    def _kept(self) -> psycopg.Connection[dict[str, Any]] | None:
        with suppress(IndexError):
            return self._idle.pop()
        return None

    def _connect(self) -> psycopg.Connection[dict[str, Any]]:
        url = self.deployment.access.servers.database_url
        # Nothing is prepared: `select *` of a prepared statement fails once a scenario has changed the table.
        return psycopg.connect(url, connect_timeout=10, autocommit=True, row_factory=dict_row, prepare_threshold=None)

    @property
    def direct_redis(self) -> str:
        """The broker's own address."""
        return self.deployment.access.servers.redis_url

    @contextmanager
    def redis(self) -> Iterator[Any]:
        """The broker, asked directly."""
        client = redis.Redis.from_url(self.deployment.access.servers.redis_url)
        try:
            yield client
        finally:
            client.close()

    @cached_property
    def bucket(self) -> Any:
        """A client of S3 that is not ours, on the bucket itself."""
        servers = self.deployment.access.servers
        return s3.client(servers.s3_endpoint_url, servers.s3_access_key_id, servers.s3_secret_access_key)

    def emulator(self, method: str, path: str, **options: Any) -> Any:
        """Ask the emulator what it saw, or tell it to fail."""
        base = f"http://{urlsplit(self.deployment.access.kling_url).netloc.rpartition('@')[2]}"
        answer = requests.request(method, f"{base}/_emulator/{path}", timeout=30, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def fault(self, on: str, name: str, times: int = 1) -> None:
        """Let the emulator fail the next times."""
        self.emulator("POST", "faults", json=[{"on": on, "fault": name, "times": times}])

    def strays(self) -> dict[int, str]:
        """Processes of ours that belong to nothing which runs: what a death left behind, by id."""
        secret = (self.deployment.servers.kept.get("SECRET_KEY") or "").encode()
        groups = {str(pid) for pid in self.deployment.pids.values()}
        found = {}
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                with suppress(OSError):
                    fields = (path / "stat").read_text().rpartition(")")[2].split()
                    if secret in (path / "environ").read_bytes() and fields[2] not in groups:
                        found[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ")[:80]
        return found

    def speaker(self, port: int) -> int | None:
        """The process of ours that has a connection from this local port."""
        wanted, secret = f":{port:04X}", (self.deployment.servers.kept.get("SECRET_KEY") or "").encode()
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        sockets = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(wanted)}
        for path in Path("/proc").iterdir():
            with suppress(OSError):
                ours = path.name.isdigit() and secret in (path / "environ").read_bytes()
                if ours and sockets & {str(fd.readlink()) for fd in (path / "fd").iterdir()}:
                    return int(path.name)
        return None

    def droppings(self) -> list[str]:
        """Files in the folder for our processes' temporary ones. (Python's empty folders stay after any SIGKILL.)"""
        return [path.name for path in self._temporary.rglob("*") if path.is_file()]

    def command(self, *words: str) -> str:
        """What `reelhook` says to these words."""
        runner = self.deployment._make_runner()
        line = [sys.executable, "-m", "webhook.cli", *words]
        return subprocess.run(line, env=runner._env, cwd=PROJECT, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own command

    @property
    def absent_seconds(self) -> float:
        """Seconds that must lie between a create without a trace and the next: at the emulator's pace."""
        settings = load(self.deployment._make_runner()._env)
        return settings.kling_timeout_seconds + ABSENT_SECONDS * settings.kling_pace
