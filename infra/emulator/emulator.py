"""A running emulator, in threads of this process."""

import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.emulator.app import App
from infra.emulator.config import Config
from infra.emulator.desk import Desk
from infra.emulator.faults import Faults
from infra.emulator.server import Server
from infra.emulator.stage import Stage
from infra.emulator.wire import Reply, Request
from infra.emulator.world import World

_ANYWHERE = {"0.0.0.0", "::", ""}  # noqa: S104 - compared with, not bound to


class Emulator:
    """Listens from its making on, answers between `start` and `close`.

    >>> with Emulator(Config(speed=600)) as emulator:
    ...     print(emulator.url)
    """

    def __init__(self, config: Config | None = None) -> None:
        config = config or Config()
        self._ending = threading.Event()
        self._app: App | None = None
        self._server = Server((config.host, config.port), self._answer, log=config.log, sleep=self._ending.wait)
        # Only now: a port that is taken must not leave a folder behind.
        self._own = None if config.data else Path(tempfile.mkdtemp(prefix="kling-emulator-"))
        folder = self._own or config.data
        assert folder
        folder.mkdir(parents=True, exist_ok=True)
        port = self._server.server_port
        self.url = f"http://{'127.0.0.1' if config.host in _ANYWHERE else config.host}:{port}"
        self.config = replace(config, port=port, public_url=config.public_url or self.url)
        world = World(self.config)
        self._stage = Stage(self.config, world, folder)
        desk = Desk(self.config, world, self._stage.studio, folder / "desk", self._ending.is_set)
        self._app = App(self.config, world, self._stage, desk, Faults(self._ending.wait))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="emulator", daemon=True)

    def _answer(self, request: Request) -> Reply:
        assert self._app
        return self._app(request)

    def start(self) -> Self:
        """Begin to answer."""
        self._stage.start()
        self._thread.start()
        return self

    def close(self) -> None:
        """Hang up, end all threads, remove the temporary files."""
        self._ending.set()
        if self._thread.ident:
            self._server.shutdown()
            self._thread.join()
        self._server.disconnect()
        self._server.server_close()
        self._stage.stop()
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
