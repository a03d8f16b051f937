"""The stand-in for Kling, as one more server: started as a process, never imported."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from infra.stack.kept import Kept
from infra.stack.process import Child
from infra.stack.server import Server, plain_environment


class Emulator(Server):
    """Kling's API on loopback, its time run faster by `speed`."""

    name = "emulator"

    def __init__(self, state: Path, kept: Kept, *, speed: float) -> None:
        super().__init__(state, kept)
        self.speed = speed
        self._log_begins = 0

    @property
    def url(self) -> str:
        """Its base URL with the credentials of the one account that it knows."""
        return f"http://{self._access_key()}:{self._secret_key()}@127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Make its folder, and note where its next words will be."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log_begins = self.log.stat().st_size if self.log.exists() else 0

    def spawn(self) -> Child:
        """Start it. The keys go by its variables: a command line could be read by everybody."""
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--speed", f"{self.speed:g}"]
        return Child(
            self.name,
            [sys.executable, "-m", "infra.emulator", *options, "--data", str(self.home)],
            state=self.state,
            log=self.log,
            env=plain_environment()
            | {
                "EMULATOR_ACCESS_KEY": self._access_key(),
                "EMULATOR_SECRET_KEY": self._secret_key(),
                "PYTHONUNBUFFERED": "1",
            },
            stop_signal=self.stop_signal,
        )

    def answers(self) -> bool:
        """Whether it has said that it listens."""
        with self.log.open("rb") as log:
            log.seek(self._log_begins)
            return b'"listening"' in log.read()

    def _access_key(self) -> str:
        return self._kept.once("emulator.access_key", lambda: "ak" + secrets.token_hex(8))

    def _secret_key(self) -> str:
        return self._kept.once("emulator.secret_key", lambda: secrets.token_hex(24))
