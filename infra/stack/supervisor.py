"""The process behind `up`: it keeps a deployment running until a signal, and says what it does as JSON lines."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from infra.stack.deployment import Deployment
from infra.stack.interrupt import Interrupted, one_interrupt
from infra.stack.kept import write_private
from infra.stack.process import StackError

_LOOK_SECONDS = 0.2


def lock_path(state: Path) -> Path:
    """The file that a supervisor holds a lock on while it lives, its process id in it."""
    return state / "supervisor.lock"


def running(state: Path) -> int | None:
    """The process id of the supervisor of this folder; None when there is none alive."""
    try:
        lock = os.open(lock_path(state), os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(lock, 32).decode()
        return int(text) if text.isdigit() else None
    finally:
        os.close(lock)
    return None


def supervise(state: Path) -> int:
    """Run until a signal (0) or until a part fails for good (1)."""
    lock = os.open(lock_path(state), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say(failed="another `up` is at work in this folder")
        return 1
    os.truncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    env_file = state / "env"
    try:
        with one_interrupt():
            _run(state, env_file)
    except StackError as fault:
        _say(failed=str(fault))
        return 1
    except Interrupted as interrupt:
        _say(ended=str(interrupt))
    finally:
        env_file.unlink(missing_ok=True)
        os.close(lock)
    return 0


def _run(state: Path, env_file: Path) -> None:
    def tell(pids: Mapping[str, int]) -> None:
        if pids:
            lines = (f"{name}={value}\n" for name, value in deployment.access.variables(pids).items())
            write_private(env_file, "".join(lines))

    deployment = Deployment(state, progress=lambda step: _say(step=step), observe=tell)
    try:
        deployment.start()
        _say(ready=deployment.pids)
        while True:
            deployment.check()
            time.sleep(_LOOK_SECONDS)
    finally:
        deployment.stop()


def _say(**what: object) -> None:
    print(json.dumps({"at": round(time.time(), 3), **what}), flush=True)  # noqa: T201 - its log is its stdout
