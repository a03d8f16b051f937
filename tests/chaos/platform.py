"""What a platform does to processes: it kills them, asks them to go, and starts them again."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from infra.stack.deployment import GRACE_SECONDS, Deployment
from infra.stack.leftovers import group_lives
from infra.stack.process import wait_until
from tests.chaos.truth import Truth

#: Seconds in which the platform brings a process back, and that its children.
_COMING_SECONDS = 60


@dataclass
class Run:
    """One scenario as it was played."""

    name: str
    jobs: list[str] = field(default_factory=list)
    kills: int = 0
    calls_again: bool = False  #: whether callbacks may be answered 503: the database is hurt too
    #: When the last fault ended; work that was open then has to recover.
    healed: datetime | None = None
    answers: Counter[int] = field(default_factory=Counter)  #: of the door, 0 where there was none
    connections: Counter[str] = field(default_factory=Counter)  #: most at once that our processes held, by server
    slowest: float = 0  #: seconds that the door let a caller wait for an answer
    faults: list[str] = field(default_factory=list)  #: what the door or a receiver should not have been told
    seen: dict[str, list[str]] = field(default_factory=dict)  #: Kling's word for each job as a caller saw it change
    log_begins: dict[str, int] = field(default_factory=dict)
    heard_before: int = 0  #: deliveries that the receiver had got from earlier scenarios
    heard_proven: int = 0  #: deliveries whose signature was looked at
    callbacks_before: int = 0  #: the same for what the emulator sent


class Platform(Truth):
    """A deployment whose processes die. Each death is counted, and one that hits nobody is none."""

    def __init__(self, deployment: Deployment, temporary: Path) -> None:
        super().__init__(deployment, temporary)
        self.run = Run("start")

    def kill(self, name: str) -> None:
        """SIGKILL one process of the Procfile, as an OOM killer does; the platform starts it again."""
        self._kill(name, lambda: self.deployment.pids.get(name))

    def kill_child(self, name: str) -> None:
        """SIGKILL the newest child of a process: one worker of its pool."""

        def newest() -> int | None:
            leader = self.deployment.pids.get(name, 0)
            return max((pid for pid in _group_of(leader) if pid != leader), default=None)

        self._kill(f"child of {name}", newest)

    def _kill(self, what: str, victim: Callable[[], int | None]) -> None:
        """A kill that hits nobody proves nothing: who is just being started again is waited for."""

        def struck() -> bool:
            with suppress(ProcessLookupError):
                pid = victim()
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    return True
            return False

        assert wait_until(struck, _COMING_SECONDS, pause=0.05), f"there was no {what} to kill"
        self.run.kills += 1

    def await_new(self, name: str, old: int | None, seconds: float = _COMING_SECONDS) -> None:
        """Until the platform has started the successor of a process."""
        assert wait_until(lambda: self.deployment.pids.get(name, old) != old, seconds), f"{name} did not come back"

    def kill_client(self, port: int) -> bool:
        """SIGKILL the process of ours that speaks from `port`; whether there was one."""
        pid = self.speaker(port)
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.run.kills += 1
        return True

    def terminate_all(
        self, *, times: int = 1, number: signal.Signals = signal.SIGTERM, everybody: bool = True
    ) -> float:
        """SIGTERM to every process of every group at once, as Heroku does, `times` times a second apart.

        Not to `everybody`: to the first of each group, as others do. Seconds until the last one was gone; what is left
        after the grace period is killed.
        """
        old = dict(self.deployment.pids)
        began = time.monotonic()
        for turn in range(times):
            for pid in old.values():
                with suppress(ProcessLookupError):
                    (os.killpg if everybody else os.kill)(pid, number)
            self.run.kills += len(old)
            if turn + 1 < times:
                time.sleep(1)
        gone = wait_until(lambda: not any(group_lives(pid) for pid in old.values()), GRACE_SECONDS)
        seconds = time.monotonic() - began
        for pid in old.values():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        if not gone:
            self.run.faults.append(f"processes outlived {number.name} by {GRACE_SECONDS} s and had to be killed")
        for name, pid in old.items():
            self.await_new(name, pid)
        return seconds


def _group_of(group: int) -> list[int]:
    """The ids of the living processes of a group."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if fields[2] == str(group) and fields[0] != "Z":
                    found.append(int(path.name))
    return found
