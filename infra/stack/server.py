"""What the three embedded servers have in common: a port that is kept, a start that is awaited, an end that is sure."""

from __future__ import annotations

import os
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path

from infra.stack.kept import Kept, is_free
from infra.stack.places import discard
from infra.stack.process import Child, StackError, tail, wait_until

#: Seconds from the start of a server until it must answer.
READY_SECONDS = 30.0
_CLASHES = 5
_QUICK_DEATH_SECONDS = 5.0
_QUICK_DEATHS = 3


class Server(ABC):
    """One embedded server on 127.0.0.1, its data and log below the state folder."""

    name: str
    stop_signal = signal.SIGTERM
    stop_seconds = 10.0

    def __init__(self, state: Path, kept: Kept, *, fast: bool = False) -> None:
        self.state = state
        self.fast = fast
        self.home = state / self.name
        self.log = state / "logs" / f"{self.name}.log"
        self._kept = kept
        self._child: Child | None = None
        self.port = 0
        self._deaths = 0

    @property
    def pid(self) -> int:
        """The server's process id; an error when it does not run."""
        if self._child is None:
            raise StackError(f"{self.name} is not running")
        return self._child.pid

    def start(self) -> None:
        """Start and wait until it answers: on the port that it had, or another when somebody took that meanwhile."""
        if self._child is not None:
            return
        self.port = self._kept.port(self.name)
        for _ in range(_CLASHES):
            self.prepare()
            if self._launch():
                return
            self.port = self._kept.new_port(self.name)
        raise StackError(f"{self.name} found no free port in {_CLASHES} tries")

    def stop(self) -> None:
        """Stop in order, waiting; harmless when it does not run."""
        if self._child is not None:
            self._child.end(self.stop_seconds)
            self._child = None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL), for fault tests. `start()` brings it back."""
        if self._child is not None:
            self._child.send(signal.SIGKILL)
            self._child.sweep_up()
            self._child = None

    def revive(self) -> None:
        """Start it again if it has died by itself. Raises `StackError` when it keeps dying, or lost its port."""
        if self._child is None or self._child.exit_code() is None:
            return
        port, child = self.port, self._child
        self._deaths = self._deaths + 1 if time.monotonic() - child.started < _QUICK_DEATH_SECONDS else 1
        child.sweep_up()
        self._child = None
        if self._deaths >= _QUICK_DEATHS:
            raise StackError(f"{self.name} keeps dying. Its last lines:\n{tail(self.log)}")
        self.start()
        if port != self.port:
            raise StackError(f"{self.name} died, and somebody took its port {port} before it was back")

    def discard(self) -> None:
        """Stop it, and remove what it keeps outside of the state folder."""
        self.stop()
        discard(self._kept, self.name)

    @abstractmethod
    def prepare(self) -> None:
        """Make what must be on disk before the server starts on `self.port`."""

    @abstractmethod
    def spawn(self) -> Child:
        """Start the process on `self.port`."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server does its work, asked with its own credentials: a stranger on the port does not count."""

    def _launch(self) -> bool:
        """Whether it runs; False when somebody else took the port between our look and its bind."""
        self._child = self.spawn()
        try:
            return self._await(self._child)
        except BaseException:
            self.stop()
            raise

    def _await(self, child: Child) -> bool:
        if not wait_until(lambda: child.exit_code() is not None or self.answers(), READY_SECONDS):
            raise StackError(f"{self.name} did not answer within {READY_SECONDS:g} s:\n{tail(self.log)}")
        if child.exit_code() is None:
            return True
        if is_free(self.port):
            raise StackError(f"{self.name} ended as it started:\n{tail(self.log)}")
        self.stop()
        return False


def plain_environment() -> dict[str, str]:
    """What a server needs of our environment: none of the variables that would configure it (PGDATA, AWS_...)."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ} | {
        "LC_ALL": "C",
        "TZ": "UTC",
    }
