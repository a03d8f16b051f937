"""What each process says on a database that nobody has brought forward: one line that names the command."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.settings import load
from infra.stack.environment import clean
from infra.stack.process import Child, wait_until
from infra.stack.servers import Servers
from tests.conftest import environment_for
from tests.house import OMNI, TEXT
from webhook.app import create_app
from worker.store.steps import BEHIND


@pytest.fixture
def bare(servers: Servers) -> dict[str, str]:
    """Settings whose database has no table of ours, and whose broker nobody else uses."""
    given = environment_for(servers.addresses)
    head = given["DATABASE_URL"].rpartition("/")[0]
    return {**given, "DATABASE_URL": f"{head}/postgres", "REDIS_URL": f"{given['REDIS_URL'].rpartition('/')[0]}/9"}


def test_the_door_asks_to_come_again(bare: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A request is no internal error: nothing was stored, and the line in the log says what has to be done."""
    door = create_app(load(bare))
    answer = door.test_client().post(OMNI, json=TEXT, headers={"Authorization": f"Bearer {bare['REELHOOK_API_KEY']}"})
    door.extensions["reelhook"]().engine.dispose()

    assert (503, "5") == (answer.status_code, answer.headers.get("Retry-After"))
    assert [BEHIND] == [line.get("reason") for line in _lines(capsys.readouterr().out) if line["level"] == "error"]


def test_a_worker_waits_and_says_for_what(bare: dict[str, str], tmp_path: Path, root: Path) -> None:
    """As it starts, and for each task that it can't do; it lives on, so its work begins when the steps are there."""
    words = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "--pool=solo", "-B", "-s", "schedule"]
    env = {**clean(os.environ), **bare, "SWEEP_SECONDS": "1", "PYTHONPATH": str(root)}
    log = tmp_path / "worker.log"
    worker = Child("worker", words, state=tmp_path, log=log, env=env, cwd=tmp_path)
    try:
        assert wait_until(lambda: "task.no_database" in log.read_text(), 150), log.read_text()
        assert worker.exit_code() is None
    finally:
        worker.sweep_up()

    said = [line for line in _lines(log.read_text()) if line["level"] == "error"]
    assert ["worker.waits", "task.no_database"] == [line["event"] for line in said][:2]
    assert {BEHIND} == {line["reason"] for line in said}
    assert "Traceback" not in log.read_text()


def _lines(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]
