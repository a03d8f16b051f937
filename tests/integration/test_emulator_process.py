"""The emulator as a process: `python -m infra.emulator`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
import requests

from tests.integration.emulator_kit import TEXT, facts, until

KEY = "a-key-that-no-log-shows"
#: How many films are asked for at once, and the seconds of each.
FILMS, LENGTH = 12, 15


def is_whole(path: Path) -> bool:
    """Whether a file is one of the films, to its end."""
    try:
        return facts(path.read_bytes()).seconds >= LENGTH
    except av.FFmpegError:
        return False


@contextmanager
def process(*options: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running emulator and its URL."""
    command = [sys.executable, "-m", "infra.emulator", *options]
    environment = {**os.environ, **variables}
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert running.stdout
        line = json.loads(running.stdout.readline())
        assert "listening" == line["event"]
        try:
            yield running, line["url"]
        finally:
            running.terminate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_promptly_with_work_in_flight(number: signal.Signals, tmp_path: Path) -> None:
    """It ends by itself and in order while it renders, while a connection is kept open: it waits for neither."""
    with process("--data", str(tmp_path), EMULATOR_API_KEY=KEY) as (running, url), requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {KEY}"
        for film in range(FILMS):
            body = {"model_name": "kling-v3", "mode": "4k", "duration": str(LENGTH), "prompt": f"{film} [fate: fast]"}
            session.post(url + TEXT, json=body, timeout=60).raise_for_status()
        until(lambda: list(tmp_path.glob("result-*")))
        running.send_signal(number)
        _, errors = running.communicate()

    assert 0 == running.returncode
    begun = list(tmp_path.glob("result-*"))
    assert len(begun) < FILMS
    assert not all(map(is_whole, begun))  # nor was the one that was being rendered waited for
    assert "Traceback" not in errors


def test_it_logs_a_line_per_request_and_no_secret() -> None:
    """Each request is one JSON line on stderr, without query and without credentials."""
    with process(EMULATOR_API_KEY=KEY, EMULATOR_SPEED="500") as (running, url):
        headers = {"Authorization": f"Bearer {KEY}"}
        task = requests.post(url + TEXT, json={"prompt": "a fox"}, headers=headers, timeout=60).json()["data"]
        requests.get(f"{url}{TEXT}?pageNum=1&secret=1", headers=headers, timeout=60).raise_for_status()
        running.terminate()
        _, errors = running.communicate()
    lines = [json.loads(line) for line in errors.splitlines()]

    assert [("POST", TEXT, 200, task["task_id"]), ("GET", TEXT, 200, "")] == [
        (line["method"], line["path"], line["status"], line["task_id"]) for line in lines
    ]
    assert KEY not in errors
    assert "secret" not in errors


def test_a_port_in_use_is_said() -> None:
    """A second emulator on the same port fails at once."""
    with process() as (_, url):
        port = url.rpartition(":")[2]
        second = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "infra.emulator", "--port", port],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert 0 != second.returncode
    assert "in use" in second.stderr
