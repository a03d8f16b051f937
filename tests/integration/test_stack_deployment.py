import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
import requests

from infra.settings import load
from infra.stack import deployment as the_deployment
from infra.stack import environment, procfile
from infra.stack.deployment import Deployment
from infra.stack.leftovers import identity
from infra.stack.process import StackError, wait_until

DOOR = """
import http.server, json, os
class Door(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps(dict(os.environ)).encode())
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Door).serve_forever()
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose door shows its own environment."""
    (tmp_path / "door.py").write_text(DOOR)
    (tmp_path / "Procfile").write_text(f"release: echo migrated\nweb: {sys.executable} door.py\n")
    monkeypatch.setattr(the_deployment, "PROJECT", tmp_path)
    return tmp_path


def seen_by_web(deployment: Deployment) -> dict[str, str]:
    """The environment of the web process."""
    seen: dict[str, str] = requests.get(f"{deployment.access.url}/", timeout=60).json()
    return seen


def test_a_deployment_is_complete_and_leaves_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The door answers on its public URL with the embedded servers' settings, whatever the shell says; a server that
    dies is back on its port; and after the end nothing runs.
    """
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://elsewhere.example")
    monkeypatch.setenv("REELHOOK_API_KEY", "rk_of_somewhere_else")
    deployment = Deployment(project / "state", fast=True)
    try:
        access = deployment.start().access
        env = seen_by_web(deployment)
        postgres = deployment.servers.postgres
        before = postgres.pid
        os.kill(before, signal.SIGKILL)
        assert wait_until(lambda: identity(before) is None, 60)
        deployment.check()
        pids = [*deployment.pids.values(), *(server.pid for server in deployment.servers.members)]

        assert access.servers.database_url == env["DATABASE_URL"]
        assert "AWS_ENDPOINT_URL_S3" not in env
        assert (access.api_key, access.url, access.kling_url) == tuple(
            env[name] for name in ("REELHOOK_API_KEY", "PUBLIC_URL", "KLING_URL")
        )
        assert str(Path(sys.executable).parent) == env["PATH"].split(os.pathsep)[0]
        assert before != postgres.pid
        with psycopg.connect(access.servers.database_url) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        told = access.variables(deployment.pids)
        assert f"web:{deployment.pids['web']}" == told["REELHOOK_PIDS"]
        assert access.url == load(told).public_url, "what `make up` writes down is all that `reelhook` needs beside it"
    finally:
        deployment.discard()

    assert [None] * 5 == [identity(pid) for pid in pids]
    assert not (project / "state").exists()


def test_a_door_that_keeps_dying_ends_the_start_with_its_words(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """start() names the process and shows what it said; the servers are gone by then."""
    monkeypatch.setattr(procfile, "QUICK_DEATH_SECONDS", 3600)  # it dies quickly, however slow the machine is
    (project / "Procfile").write_text("web: echo no such module; exit 3\n")
    deployment = Deployment(project / "state", fast=True)
    try:
        with pytest.raises(StackError, match=r"web keeps dying \(exit 3, .*\n(no such module\n?)+"):
            deployment.start()

        assert [] == list((project / "state" / "run").glob("*"))
    finally:
        deployment.discard()


SHELLS = [{}, {"PATH": "/bin", "HOME": "/h", "S3_BUCKET": "theirs", "http_proxy": "http://p", "LOG_LEVEL": "DEBUG"}]


@pytest.mark.parametrize("shell", SHELLS)
def test_only_harmless_variables_come_from_the_shell(shell: Mapping[str, str]) -> None:
    """What could point our processes to another place stays outside."""
    clean = environment.clean(shell)

    assert clean.keys() <= environment.INHERITED | {"PYTHONUNBUFFERED"}
    assert shell.get("LOG_LEVEL") == clean.get("LOG_LEVEL")
