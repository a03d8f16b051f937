"""Several processes on one socket: each that dies is replaced, all end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from types import FrameType

from infra.log import logger

log = logger(__name__)

_LOOK_SECONDS = 0.05
#: A process that ends by itself sooner, in seconds, can't serve, and its successor could not either.
_TOO_SOON_SECONDS = 5.0


class Supervisor:
    """Runs `command` `count` times, each with the socket and a lifeline as its last arguments."""

    def __init__(self, command: Sequence[str], listening: socket.socket, count: int) -> None:
        self._command = command
        self._listening = listening
        self._count = count
        self._lifeline, self._held = os.pipe()
        self._children: dict[subprocess.Popen[bytes], float] = {}
        self._ending = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until a process can't even start; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        code = 0
        while not self._ending:
            code = self._bury()
            if code:
                break
            for _ in range(self._count - len(self._children)):
                self._start()
            time.sleep(_LOOK_SECONDS)
        for child in self._children:
            child.terminate()
        for child in self._children:
            child.wait()
        return code

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True

    def _start(self) -> None:
        handed = (self._listening.fileno(), self._lifeline)
        child = subprocess.Popen([*self._command, *map(str, handed)], pass_fds=handed)  # noqa: S603 - our own words
        self._children[child] = time.monotonic()

    def _bury(self) -> int:
        """Remove processes that have ended; the exit code of one that failed as soon as it was started, else 0."""
        for child, began in list(self._children.items()):
            if (code := child.poll()) is None:
                continue
            del self._children[child]
            log.warning("web.died", process=child.pid, exit=code)
            if code > 0 and time.monotonic() - began < _TOO_SOON_SECONDS:
                return code
        return 0
