"""A listener on loopback that says whatever it is told to, and a clock for who calls it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count

import pytest

from infra import http
from infra.dial import Pace


@contextmanager
def server(behave: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Iterator[int]:
    """A listener on loopback that does `behave` with each connection."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                behave(connection)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def by_clock(patch: pytest.MonkeyPatch, clock: Callable[[], float]) -> None:
    """Have a call's time pass by this clock."""
    patch.setattr(http, "Pace", partial(Pace, clock=clock))


def by_looks(patch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Have a call's time pass by a second with each look at the clock, and with nothing else: who drips runs into a
    deadline, and a machine that is busy does not. The clock, which says how long it took.
    """
    looks = count()

    def clock() -> float:
        return float(next(looks))

    by_clock(patch, clock)
    return clock


def reply(text: str) -> Callable[[socket.socket], None]:
    """Read one request and answer with `text`."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text.encode())

    return behave
