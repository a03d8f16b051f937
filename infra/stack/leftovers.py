"""Which processes a state folder has running: written down, so that a run after a hard death can end them.

A process id alone could be somebody else's by then; with the moment of its start it is unmistakable.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

_GRACE_SECONDS = 5.0
_DEAD = {"Z", "X"}


def identity(pid: int) -> str | None:
    """What distinguishes this process from every other that will have its id; None when there is none (or a zombie)."""
    if not Path("/proc/self/stat").exists():
        return _identity_by_ps(pid)
    fields = _fields(pid)
    if fields is None or fields[0] in _DEAD:
        return None
    # proc_pid_stat(5): starttime is field 22, and the state, where our list begins, is field 3.
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {fields[19]}"


def group_lives(group: int) -> bool:
    """Whether any process of the group is still there. A zombie does not count: in a container the first process may
    take its time to collect what it adopted, or never do it.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    if not Path("/proc/self/stat").exists():
        return True
    everybody = (_fields(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit())
    return any(fields[2] == str(group) and fields[0] not in _DEAD for fields in everybody if fields)


def _fields(pid: int) -> list[str] | None:
    """The fields of proc_pid_stat(5) from the third on: the second, a name, may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _identity_by_ps(pid: int) -> str | None:
    asked = ["/bin/ps", "-o", "lstart=", "-p", str(pid)]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    return answer.stdout.strip() or None


def record(state: Path, name: str, pid: int, stop_signal: signal.Signals) -> Path:
    """Write a process down; the file is to be removed when it has ended."""
    path = state / "run" / f"{name}.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps({"pid": pid, "identity": identity(pid), "signal": int(stop_signal)}))
    return path


def end_all(state: Path) -> list[str]:
    """End what an earlier run on this folder left alive, and say the names. The caller holds the folder's lock."""
    ended = []
    for path in sorted((state / "run").glob("*.json")):
        with suppress(ValueError, KeyError):  # a record that was cut by a crash names nobody
            known = json.loads(path.read_text())
            if known["identity"] and identity(known["pid"]) == known["identity"]:
                _end(known["pid"], known["identity"], known["signal"])
                ended.append(path.stem)
        path.unlink()
    return ended


def _end(pid: int, known: str, stop_signal: int) -> None:
    end = time.monotonic() + _GRACE_SECONDS
    with suppress(ProcessLookupError):
        os.kill(pid, stop_signal)
    while identity(pid) == known and time.monotonic() < end:
        time.sleep(0.02)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
