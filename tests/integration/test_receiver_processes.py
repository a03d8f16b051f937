"""Callbacks as the door's processes end and die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import requests
from sqlalchemy import Engine

from infra.stack.environment import clean
from infra.stack.kept import free_port
from infra.stack.leftovers import group_lives
from infra.stack.process import Child, wait_until
from infra.stack.procfile import parse, shell
from infra.stack.servers import Servers
from tests.conftest import environment_for
from tests.integration.receiver_kit import BODY, SECRET, call, connected, head, kept, last, made

_IDLE = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"


@dataclass
class Web:
    """The Procfile's web, as a platform runs it."""

    child: Child
    url: str

    def answers(self) -> bool:
        """Whether the door is open."""
        try:
            return requests.get(f"{self.url}/healthz", timeout=30).ok
        except requests.RequestException:
            return False


@contextmanager
def web(servers: Servers, folder: Path, root: Path, **changes: str) -> Iterator[Web]:
    """Such a process, with the test's secret."""
    port = free_port()
    given = environment_for(servers.addresses)
    own = {"HOST": "127.0.0.1", "PORT": str(port), "SECRET_KEY": SECRET, "SHUTDOWN_GRACE_SECONDS": "20"}
    env = {**clean(os.environ), **given, **own, **changes}
    command = shell(parse((root / "Procfile").read_text())["web"])
    child = Child("web", command, state=folder, log=folder / "web.log", env=env, cwd=root)
    one = Web(child, f"http://127.0.0.1:{port}")
    try:
        assert wait_until(one.answers, 60), (folder / "web.log").read_text()
        yield one
    finally:
        child.sweep_up()


def test_several_processes_don_t_begin_over_and_over_without_an_account(servers: Servers, root: Path) -> None:
    """What is wrong in an account's URL is said once, before the door is open, and is the end of it."""
    given = environment_for(servers.addresses, kling_url="foo://a:s@127.0.0.1:9", public_url="http://127.0.0.1:9")
    env = {**clean(os.environ), **given, "HOST": "127.0.0.1", "PORT": str(free_port()), "WEB_CONCURRENCY": "2"}
    command = [sys.executable, "-m", "webhook.serve"]
    said = subprocess.run(  # noqa: S603 - our own command
        command, cwd=root, env=env, capture_output=True, text=True, check=False, timeout=60
    )

    assert (1, "") == (said.returncode, said.stdout)
    assert 1 == said.stderr.count("KLING_URL: account 'default': the scheme is one of")


@pytest.mark.parametrize(
    ("processes", "number", "whom"), [("1", signal.SIGINT, "main"), ("2", signal.SIGTERM, "group")]
)
def test_what_is_under_way_ends_well(
    servers: Servers,
    engine: Engine,
    tmp_path: Path,
    root: Path,
    processes: str,
    number: signal.Signals,
    whom: str,
) -> None:
    """P5: asked to end twice, one process or all of them, the door still stores what it had begun to take."""
    path = made(engine)
    with web(servers, tmp_path, root, WEB_CONCURRENCY=processes) as one:
        end = partial(one.child.send_group if whom == "group" else one.child.send, number)
        with connected(one.url, _IDLE) as idle, connected(one.url, head(path, "Expect: 100-continue")) as sock:
            assert b"HTTP/1.1 200" == idle.recv(4096)[:12]
            assert b"HTTP/1.1 100" == sock.recv(100)[:12]  # it is being read
            end()
            last(idle)  # it is closed first: the second signal comes into the middle of the first's work
            end()
            assert one.child.exit_code() is None
            sock.sendall(BODY)
            assert b"HTTP/1.1 204" == last(sock)[:12]
        assert 0 == one.child.wait(20)

    assert 1 == kept(engine)


def test_processes_die_one_by_one(servers: Servers, engine: Engine, tmp_path: Path, root: Path) -> None:
    """A killed process is replaced, and a line of JSON tells of it; when the one that does this is killed, none of the
    others stays.
    """
    path = made(engine)
    with web(servers, tmp_path, root, WEB_CONCURRENCY="2") as one:
        first = _below(one.child.pid)
        os.kill(first[0], signal.SIGKILL)
        assert wait_until(lambda: len(set(_below(one.child.pid)) - {first[0]}) == 2, 30)
        assert wait_until(lambda: call(one.url, path).status_code == 204, 30)
        os.kill(one.child.pid, signal.SIGKILL)
        assert one.child.wait(5) == -signal.SIGKILL
        assert wait_until(lambda: not group_lives(one.child.pid), 20)

    said = [json.loads(line) for line in (tmp_path / "web.log").read_text().splitlines()]
    assert "door.open" == said[0]["event"]
    assert [(first[0], -signal.SIGKILL)] == [
        (line["process"], line["exit"]) for line in said if line["event"] == "web.died"
    ]


def _below(parent: int) -> list[int]:
    """The children of a process."""
    shown = subprocess.run(["/bin/ps", "-axo", "ppid=,pid="], capture_output=True, text=True, check=True).stdout
    return [pid for above, pid in (map(int, line.split()) for line in shown.splitlines()) if above == parent]
