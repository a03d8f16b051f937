"""Runs a Procfile as a platform does: release first, then every process, started again when it dies.

Source of the format: https://devcenter.heroku.com/articles/procfile.
"""

from __future__ import annotations

import re
import shlex
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.stack.leftovers import group_lives
from infra.stack.process import Child, StackError, tail, wait_until

_LINE = re.compile(r"^([A-Za-z0-9_-]+):\s*(.+?)\s*$")
#: A process that lives shorter than this, in seconds, so many times in a row, will not get better.
QUICK_DEATH_SECONDS = 5.0
QUICK_DEATHS = 5
_FIRST_PAUSE_SECONDS = 0.1
_RELEASE_SECONDS = 120.0
_LOOK_SECONDS = 0.05

Observer = Callable[[Mapping[str, int]], None]


def parse(text: str) -> dict[str, str]:
    """The commands of a Procfile by process name, in its order. Raises `StackError` for a line that is none."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = [_LINE.match(line) for line in lines]
    if wrong := [line for line, match in zip(lines, found, strict=True) if match is None]:
        raise StackError(f"Procfile: `{wrong[0]}` is not of the form `name: command`")
    return {match[1]: match[2] for match in found if match}


def scale(commands: Mapping[str, str], formation: Mapping[str, int]) -> dict[str, str]:
    """The commands with as many of each as `formation` says, one where it says nothing.

    >>> scale({"web": "w", "worker": "c"}, {"worker": 2})
    {'web': 'w', 'worker': 'c', 'worker.2': 'c'}
    """
    return {
        name if number == 1 else f"{name}.{number}": command
        for name, command in commands.items()
        for number in range(1, formation.get(name, 1) + 1)
    }


def shell(command: str) -> list[str]:
    """The command as platforms run it: by a shell that becomes the command, so that signals reach the process.

    A list of commands, or one that begins with an assignment, can't be given to `exec` and stays as it is.
    """
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    simple = words and "=" not in words[0] and not any(set(word) <= set(";&|()<>") for word in words)
    return ["/bin/sh", "-c", f"exec {command}" if simple else command]


@dataclass
class _Process:
    """One line of the Procfile, and how it fares."""

    name: str
    command: str
    env: Mapping[str, str]
    child: Child | None = None
    quick_deaths: int = 0
    start_at: float = field(default_factory=time.monotonic)


class Runner:
    """The processes of a Procfile. `observe` is told the process ids by name after each change, from any thread.

    After `start()` a thread keeps them alive until `stop()`; when one keeps dying it gives up, and `check()` raises.
    """

    def __init__(
        self,
        commands: Mapping[str, str],
        env: Mapping[str, str],
        state: Path,
        *,
        cwd: Path,
        grace: float = 30.0,
        observe: Observer = lambda _: None,
        own_env: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        own = own_env or {}
        self._env = env
        self._release = commands.get("release")
        self._processes = [
            _Process(name, command, {**env, **own.get(name, {})})
            for name, command in commands.items()
            if name != "release"
        ]
        self._state = state
        self._cwd = cwd
        self._grace = grace
        self._observe = observe
        self._ending = threading.Event()
        self._failure: StackError | None = None
        self._thread: threading.Thread | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of what runs now."""
        # Each child is looked at once: the thread that keeps them alive may be burying it.
        return {process.name: child.pid for process in self._processes if (child := process.child)}

    def log(self, name: str) -> Path:
        """Where the output of a process goes."""
        return self._state / "logs" / f"{name}.log"

    def release(self) -> None:
        """Run the release command to its end. Raises `StackError` with its output unless it exits 0."""
        if self._release is None:
            return
        child = self._spawn("release", self._release, self._env)
        try:
            code = child.wait(_RELEASE_SECONDS)
        finally:
            child.sweep_up()
        if code != 0:
            how = f"exited {code}" if code is not None else f"did not end within {_RELEASE_SECONDS:g} s"
            raise StackError(f"release {how}:\n{tail(child.log, 40)}")

    def start(self) -> None:
        """Start every process, and keep them alive from now on. Returns at once."""
        self._thread = threading.Thread(target=self._keep_alive, name="procfile", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise the `StackError` of a process that keeps dying, if there is one."""
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """SIGTERM to all at once, one grace period, SIGKILL for what is left then. Harmless when repeated."""
        self._ending.set()
        if self._thread:
            self._thread.join()
        children = [process.child for process in self._processes if process.child]
        for child in children:
            child.send_group(signal.SIGTERM)
        wait_until(lambda: not any(_lives(child) for child in children), self._grace)
        for process in self._processes:
            if process.child:
                process.child.sweep_up()
                process.child = None
        self._observe(self.pids)

    def _spawn(self, name: str, command: str, env: Mapping[str, str]) -> Child:
        return Child(name, shell(command), state=self._state, log=self.log(name), env=env, cwd=self._cwd)

    def _start(self, process: _Process) -> None:
        process.child = self._spawn(process.name, process.command, process.env)
        self._observe(self.pids)

    def _keep_alive(self) -> None:
        while not self._ending.wait(_LOOK_SECONDS):
            for process in self._processes:
                if process.child is None:
                    if time.monotonic() >= process.start_at:
                        self._start(process)
                elif process.child.exit_code() is not None:
                    self._bury(process, process.child)
                if self._failure:
                    return

    def _bury(self, process: _Process, child: Child) -> None:
        """Clear away what is left of a dead process, and say when it starts again."""
        quick = time.monotonic() - child.started < QUICK_DEATH_SECONDS
        process.quick_deaths = process.quick_deaths + 1 if quick else 0
        child.sweep_up()
        process.child = None
        self._observe(self.pids)
        if process.quick_deaths >= QUICK_DEATHS:
            self._failure = StackError(
                f"{process.name} keeps dying ({_ending_of(child)}, {QUICK_DEATHS} times in a row). "
                f"Its last lines:\n{tail(child.log)}"
            )
        process.start_at = time.monotonic() + _FIRST_PAUSE_SECONDS * 2 ** max(process.quick_deaths - 1, 0)


def _lives(child: Child) -> bool:
    """Whether any process of its group lives. The leader is reaped first, or it would count for ever."""
    return child.exit_code() is None or group_lives(child.pid)


def _ending_of(child: Child) -> str:
    code = child.exit_code() or 0
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
