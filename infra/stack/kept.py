"""What a state folder keeps over restarts: secrets, ports, places. One JSON file that only its owner can read."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path

#: Below the ports that systems hand to outgoing connections. A client that retries while its server is down could
#: otherwise be given the server's own port, and talk to itself there.
_PORTS = range(20000, 32000)


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody held a moment ago."""
    return next(port for port in random.sample(_PORTS, len(_PORTS)) if is_free(port))


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now, and nobody listens on it for all addresses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


class Kept:
    """Named values that are made once and found again by the next run. Safe between threads of one process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._values: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, name: str) -> str | None:
        """The value, if there is one."""
        return self._values.get(name)

    def put(self, name: str, value: str) -> None:
        """Keep a value."""
        with self._lock:
            self._values[name] = value
            write_private(self._path, json.dumps(self._values, indent=1))

    def once(self, name: str, make: Callable[[], str]) -> str:
        """The value, made now if it was never made."""
        if name not in self._values:
            self.put(name, make())
        return self._values[name]

    def port(self, name: str) -> int:
        """The port of a server: the one that it had if that is still free, else a free one that no other has here."""
        kept = self._values.get(f"port.{name}")
        if kept and is_free(int(kept)):
            return int(kept)
        return self.new_port(name)

    def new_port(self, name: str) -> int:
        """Another port: the one that it had was taken by somebody else."""
        taken = {value for key, value in self._values.items() if key.startswith("port.")}
        port = free_port()
        while str(port) in taken:
            port = free_port()
        self.put(f"port.{name}", str(port))
        return port
