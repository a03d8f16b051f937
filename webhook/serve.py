"""`python -m webhook.serve`: the door on a port, in as many processes as WEB_CONCURRENCY says.

SIGTERM and SIGINT, once or many times, to one process or to all, let what is under way end within the grace period.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from types import FrameType

import uvicorn

from infra import log
from infra.settings import BadSettings, Settings, load
from webhook.app import create_app
from webhook.entrance import Entrance
from webhook.patience import PatientProtocol
from webhook.supervisor import Supervisor
from worker.services import accounts

logger = log.logger(__name__)

#: Routers keep idle connections for 90 s; a shorter patience here makes them race a closing socket.
_KEEP_ALIVE_SECONDS = 100
#: Seconds that are left to a platform between our end and its SIGKILL.
_SPARE_SECONDS = 8
_BACKLOG = 2048


class GracefulServer(uvicorn.Server):
    """Uvicorn, but a second SIGINT does not make it drop the requests that are under way."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        if not self.should_exit:
            super().handle_exit(sig, frame)


def server(settings: Settings, entrance: Entrance) -> GracefulServer:
    """What serves the door in this process. Our own lines are the only log of what came."""
    return GracefulServer(
        uvicorn.Config(
            entrance,
            http=PatientProtocol,
            ws="none",
            lifespan="off",
            loop="uvloop",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(settings.shutdown_grace_seconds - _SPARE_SECONDS, 2),
        )
    )


def main(arguments: list[str]) -> None:
    """Serve until a signal comes. Arguments, for a process of several: the listening socket and the lifeline."""
    settings = _settings()
    log.configure(settings.log_level)
    if not arguments and settings.web_concurrency > 1:
        words = [sys.executable, "-m", "webhook.serve"]
        sys.exit(Supervisor(words, _listening(settings), settings.web_concurrency).run())
    if arguments:
        listening = socket.socket(fileno=int(arguments[0]))
        threading.Thread(target=_outlive_nobody, args=(int(arguments[1]),), daemon=True).start()
    else:
        listening = _listening(settings)
    entrance = Entrance(create_app(settings), settings)
    entrance.prepare()
    serving = server(settings, entrance)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Before uvicorn has handlers of its own, and after: it sends itself once more what it was ended by.
        signal.signal(number, lambda *_: setattr(serving, "should_exit", True))
    serving.run([listening])
    # A thread that still waits for somebody's answer is not waited for: the platform would not do so either.
    os._exit(0)


def _listening(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as fault:
        said = str(fault.strerror).partition(" (while")[0]
        sys.exit(f"the door can't listen at {settings.host}, port {settings.port}, look at HOST and PORT: {said}")
    logger.info("door.open", host=settings.host, port=settings.port, processes=settings.web_concurrency)
    return listening


def _outlive_nobody(lifeline: int) -> None:
    """End this process when the supervisor is gone: it holds the other end of a pipe, and nobody else would stop us."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _settings() -> Settings:
    try:
        settings = load()
        accounts(settings)  # here, too: a supervisor would begin processes for ever that end by this
    except BadSettings as fault:
        sys.exit(str(fault))
    return settings


if __name__ == "__main__":
    main(sys.argv[1:])
