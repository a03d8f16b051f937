"""The whole of Reelhook on one machine: the servers, the emulator, and the Procfile's processes on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import requests

import infra
from infra.stack import environment
from infra.stack.emulator import Emulator
from infra.stack.kept import is_free
from infra.stack.process import StackError, tail, wait_until
from infra.stack.procfile import Observer, Runner, parse, scale
from infra.stack.servers import Addresses, Servers

#: The project's own folder, where the Procfile is.
PROJECT = Path(infra.__file__).resolve().parents[1]
#: Seconds from SIGTERM to SIGKILL.
GRACE_SECONDS = 10
#: Kling's minutes become seconds.
SPEED = 60.0
_DOOR_SECONDS = 60.0


@dataclass(frozen=True)
class Access:
    """How to use what runs."""

    url: str
    api_key: str
    kling_url: str
    servers: Addresses
    settings: Mapping[str, str]  #: of the Procfile's processes, so that `reelhook` runs beside them

    def variables(self, pids: Mapping[str, int]) -> dict[str, str]:
        """The same for other programs, by name."""
        return {
            **self.settings,
            "REELHOOK_URL": self.url,
            "REELHOOK_PIDS": ",".join(f"{name}:{pid}" for name, pid in pids.items()),
        }


class Deployment:
    """Starts and stops all of it. `progress` is told each step, `observe` the process ids after each change.

    `formation` says how many of a process there are, where that is not one: the second `worker` is `worker.2`.
    """

    def __init__(
        self,
        state: Path,
        *,
        speed: float = SPEED,
        fast: bool = False,
        more: Mapping[str, str] | None = None,
        procfile: Path | None = None,
        formation: Mapping[str, int] | None = None,
        progress: Callable[[str], None] = lambda _: None,
        observe: Observer = lambda _: None,
    ) -> None:
        self.servers = Servers(state, fast=fast)
        self.state = self.servers.state
        self._kept = self.servers.kept
        self._emulator = Emulator(self.state, self._kept, speed=speed)
        self.servers.members.append(self._emulator)
        self._more = more or {}
        self._procfile = procfile or PROJECT / "Procfile"
        self._formation = formation or {}
        self._progress = progress
        self._observe = observe
        self._runner: Runner | None = None
        self._port = 0

    @property
    def access(self) -> Access:
        """Valid after `start()`."""
        url, addresses, kling_url = f"http://127.0.0.1:{self._port}", self.servers.addresses, self._emulator.url
        settings = environment.settings(addresses, self._kept, kling_url=kling_url, public_url=url)
        return Access(url, settings["REELHOOK_API_KEY"], kling_url, addresses, settings)

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the Procfile's processes."""
        return self._runner.pids if self._runner else {}

    def start(self) -> Self:
        """Start everything and wait until the door answers. When a part fails nothing stays. Raises `StackError`."""
        try:
            self._progress("starting PostgreSQL, Redis, S3 and the Kling emulator")
            self.servers.start()
            self._port = self._kept.port("web")
            self._runner = self._make_runner()
            self._progress("release: migrating the database")
            self._runner.release()
            self._progress("starting the Procfile's processes")
            self._runner.start()
            self._await_door(self._runner)
        except BaseException:
            self.stop()
            raise
        return self

    def check(self) -> None:
        """Start a server that died again; raise `StackError` when that or a process keeps dying. To be called often."""
        if self._runner:
            self._runner.check()
        for server in self.servers.members:
            server.revive()

    def stop(self) -> None:
        """Stop everything: the processes first, then what they stand on."""
        if self._runner:
            self._runner.stop()
            self._runner = None
        self.servers.stop()

    def discard(self) -> None:
        """Stop everything and remove the state folder."""
        self.stop()
        self.servers.discard()

    def _make_runner(self) -> Runner:
        env = {
            **environment.clean(os.environ),
            **self.access.settings,
            "KLING_PACE": f"{min(max(1 / self._emulator.speed, 0.001), 10):g}",
            "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
            **self._more,
        }
        return Runner(
            scale(parse(self._procfile.read_text()), self._formation),
            env,
            self.state,
            cwd=PROJECT,
            grace=GRACE_SECONDS,
            observe=self._observe,
            own_env={"web": {"PORT": str(self._port), "HOST": "127.0.0.1"}},
        )

    def _await_door(self, runner: Runner) -> None:
        def open_now() -> bool:
            self.check()
            try:
                return requests.get(f"{self.access.url}/healthz", timeout=2).ok
            except requests.RequestException:
                return False

        if not wait_until(open_now, _DOOR_SECONDS, pause=0.05):
            held = "" if is_free(self._port) else f" (port {self._port} is held)"
            raise StackError(f"web did not answer within {_DOOR_SECONDS:g} s{held}:\n{tail(runner.log('web'))}")
