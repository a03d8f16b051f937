"""CPU seconds of processes that are not ours to ask: those of a process group, also of children that have ended."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def seconds(groups: Iterable[int]) -> float:
    """User and system seconds that the processes of these groups have used so far."""
    wanted = set(groups)
    return _from_proc(wanted) if (_PROC / "self" / "stat").exists() else _from_ps(wanted)


def with_children(pid: int) -> float:
    """The same of a process and its children, where those are in groups of their own, as PostgreSQL's are."""
    children = subprocess.run(["/bin/ps", "-axo", "ppid=,pgid="], capture_output=True, text=True, check=True).stdout
    rows = (map(int, line.split()) for line in children.splitlines())
    return seconds({pid, *(group for parent, group in rows if parent == pid)})


def _from_proc(groups: set[int]) -> float:
    ticks = 0
    for path in _PROC.iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) in groups:
                    ticks += sum(map(int, fields[11:15]))  # own and ended children's, user and system
    return ticks / os.sysconf("SC_CLK_TCK")


def _from_ps(groups: set[int]) -> float:
    """Where there is no /proc, such as macOS; what ended children used is lost there."""
    shown = subprocess.run(["/bin/ps", "-axo", "pgid=,time="], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in shown.splitlines())
    return sum(_clock(time) for group, time in rows if int(group) in groups)


def _clock(text: str) -> float:
    """Seconds of ps's `[[dd-]hh:]mm:ss.cc`."""
    days, _, rest = text.rpartition("-")
    total = 0.0
    for part in re.split(":", rest):
        total = total * 60 + float(part)
    return total + int(days or 0) * 86400
