"""A child process: its own group, its output in a file, no longer alive than we are, and ended for sure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from infra.stack import leftovers
from infra.stack.leftovers import group_lives

#: Lines of a log that an error text shows.
TAIL = 20
_TETHER = Path(__file__).with_name("tether.py")
# The kernel's "your parent died" is about the *thread* that forked. This one lives as long as the interpreter.
_SPAWNER = ThreadPoolExecutor(1, "spawner")


class StackError(Exception):
    """A part of the stack can't run. The text says which one, why, and shows the last lines that it wrote."""


def tail(log: Path, lines: int = TAIL) -> str:
    """The last lines of a log; only its last 64 KiB are read."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 65536, 0))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


class Child:
    """A running process, leader of its own session and group. Recorded below `state`, for a next run to end it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        state: Path,
        log: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: int | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.started = time.monotonic()
        self._stop_signal = stop_signal
        uid = "-" if user is None else str(user)
        tethered = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), str(int(stop_signal)), uid, *command]
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as output:
            spawned = _SPAWNER.submit(
                subprocess.Popen,
                tethered,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
            try:
                self._popen = spawned.result()
            except BaseException:
                # A signal's exception came while the other thread forked: nobody would know the process.
                with suppress(OSError):
                    spawned.result().kill()
                raise
        self._record = leftovers.record(state, name, self.pid, stop_signal)

    @property
    def pid(self) -> int:
        """The process id, and its group's."""
        return self._popen.pid

    def exit_code(self) -> int | None:
        """How it ended (negative: the signal); None while it runs."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self._popen.send_signal(number)

    def send_group(self, number: signal.Signals) -> None:
        """Send a signal to all of its group that is left."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def wait(self, seconds: float) -> int | None:
        """How it ended; None when it still runs after so long."""
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds)
        return self._popen.returncode

    def sweep_up(self) -> None:
        """End what a process left behind that is dead or must be: nothing of its group stays."""
        self.send_group(signal.SIGKILL)
        self._popen.wait()
        wait_until(lambda: not group_lives(self.pid), 2)
        self._record.unlink(missing_ok=True)

    def end(self, grace: float) -> None:
        """Ask it to stop, wait so many seconds, then end the whole group."""
        if self.exit_code() is None:
            self.send(self._stop_signal)
            self.wait(grace)
        self.sweep_up()
