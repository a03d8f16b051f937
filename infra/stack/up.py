"""`up`, `down` and `status`: a deployment that stays, below `.reelhook/` of the current folder."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from infra.stack import leftovers
from infra.stack.interrupt import Interrupted, one_interrupt
from infra.stack.process import StackError, tail, wait_until
from infra.stack.supervisor import running

_START_SECONDS = 150.0
_STOP_SECONDS = 60.0
_EXAMPLE = {
    "model_name": "kling-video-o1",
    "prompt": "A paper boat sails down a rainy street, cinematic light",
    "mode": "std",
    "aspect_ratio": "16:9",
    "duration": "5",
}


def up(state: Path, console: Console) -> None:
    """Start it, or find it running, and say how to use it. Raises `StackError`."""
    state.mkdir(mode=0o711, exist_ok=True)
    if running(state):
        console.print("Already up.")
        if not wait_until(lambda: (state / "env").exists() or not running(state), _START_SECONDS):
            raise StackError("it runs, but does not get ready; `make down` ends it")
    else:
        _launch(state, console)
    _present(state, console)


def down(state: Path, console: Console) -> None:
    """End what runs, and wait until it has ended. Harmless when nothing runs."""
    names = sorted(path.stem for path in (state / "run").glob("*.json"))
    pid = running(state)
    if pid is not None:
        console.print("Stopping ...")
        _end(state, pid)
    ended = names if pid is not None else leftovers.end_all(state)
    (state / "env").unlink(missing_ok=True)
    console.print(f"Ended: {', '.join(ended)}." if ended or pid else "Nothing was running.")


def status(state: Path, console: Console) -> bool:
    """Say what runs; whether anything does."""
    pid = running(state)
    if pid is None:
        console.print("Down. `make up` starts it.")
        return False
    console.print(f"Up (supervisor {pid}).", highlight=False)
    for path in sorted((state / "run").glob("*.json")):
        with suppress(OSError, ValueError):  # it may end while we look
            console.print(f"  {path.stem:<10} {json.loads(path.read_text())['pid']}", highlight=False)
    return True


def _launch(state: Path, console: Console) -> None:
    log = state / "logs" / "supervisor.log"
    log.parent.mkdir(mode=0o700, exist_ok=True)
    with log.open("ab") as output:
        begins = output.tell()
        command = [sys.executable, "-m", "infra.stack", "supervise", "--state", str(state)]
        supervisor = subprocess.Popen(  # noqa: S603 - ourselves
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        with one_interrupt():
            _follow(log, begins, supervisor, console)
    except (Interrupted, StackError):
        supervisor.terminate()
        supervisor.wait()
        raise
    supervisor.returncode = 0  # it stays; the interpreter need not warn that we leave it


def _follow(log: Path, begins: int, supervisor: subprocess.Popen[bytes], console: Console) -> None:
    """Show its steps until it is ready. Raises `StackError` with its own words when it fails."""
    for said in _lines(log, begins, supervisor):
        if step := said.get("step"):
            console.print(f"[dim]{escape(str(step))} ...[/dim]")
        if failed := said.get("failed"):
            raise StackError(str(failed))
        if "ready" in said:
            return
    raise StackError(f"it ended as it started:\n{tail(log)}")


def _lines(log: Path, begins: int, supervisor: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    end = time.monotonic() + _START_SECONDS
    with log.open(encoding="utf-8", errors="replace") as file:
        file.seek(begins)
        rest = ""
        while True:
            ended = supervisor.poll() is not None
            rest += file.read()
            *lines, rest = rest.split("\n")
            for line in lines:
                with suppress(ValueError):  # a traceback is no JSON; the log keeps it
                    yield json.loads(line)
            if ended:
                return
            if time.monotonic() > end:
                raise StackError(f"it did not get ready within {_START_SECONDS:g} s:\n{tail(log)}")
            time.sleep(0.05)


def _end(state: Path, pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not wait_until(lambda: running(state) is None, _STOP_SECONDS, pause=0.1):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: running(state) is None, 5)
        leftovers.end_all(state)


def _present(state: Path, console: Console) -> None:
    try:
        known = dict(line.split("=", 1) for line in (state / "env").read_text().splitlines())
    except FileNotFoundError:
        raise StackError(f"it has ended meanwhile:\n{tail(state / 'logs' / 'supervisor.log')}") from None
    url, key = known["REELHOOK_URL"], known["REELHOOK_API_KEY"]
    bearer = shlex.quote(f"Authorization: Bearer {key}")
    rows = {
        "door": url,
        "page": f"{url}/docs   every route, field, rule, error and event",
        "API key": key,
        "signing": "for clients that sign as Kling's own do: AccessKey default, SecretKey the API key",
        "webhooks": "`reelhook keys secret default` shows what signs deliveries to a callback_url",
        "bucket": f"{known['S3_BUCKET']} at {known['S3_ENDPOINT_URL']}",
        "S3 keys": f"{known['S3_ACCESS_KEY_ID']}  {known['S3_SECRET_ACCESS_KEY']}",
        "database": known["DATABASE_URL"],
        "logs": str(state / "logs"),
        "variables": f"{state / 'env'}   (set -a; . {shlex.quote(str(state / 'env'))})",
    }
    console.print("\n[bold green]Reelhook is up.[/bold green]")
    for name, value in rows.items():
        console.print(f"  [bold]{name:<10}[/bold] {escape(value)}", highlight=False, soft_wrap=True)
    create = f"curl -s {url}/kling/v1/videos/omni-video -H {bearer} -H 'Content-Type: application/json' "
    create += f"-d {shlex.quote(json.dumps(_EXAMPLE))}"
    show = f"curl -s '{url}/kling/v1/videos/omni-video?pageSize=1' -H {bearer}"
    for title, command in (("Make a video:", create), ("See the newest one:", show), ("End it:", "make down")):
        console.print(f"\n{title}\n")
        console.print(command, markup=False, highlight=False, soft_wrap=True)
