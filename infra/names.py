"""Addresses of a host, asked for with a limit: the system's resolver knows none, and may be silent for minutes."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from ipaddress import ip_address
from typing import Any

#: What a socket is made of, and connected to: family, kind, protocol, canonical name, address.
Found = tuple[int, int, int, str, tuple[Any, ...]]


def look_up(host: str, port: int, seconds: float) -> list[Found]:
    """Where `host` is now. Raises `OSError`, `TimeoutError` among them, and `ValueError` where that is no name.

    The thread that asks is left alone once its time is over: it ends with the resolver's patience, or the process.
    Where no more threads may be had the caller asks, and waits for as long as the resolver does.
    """
    if _is_address(host):
        return _asked(host, port)
    found: Future[list[Found]] = Future()
    try:
        threading.Thread(target=_ask, args=(host, port, found), name="resolver", daemon=True).start()
    except RuntimeError:
        _ask(host, port, found)
    return found.result(seconds)


def _ask(host: str, port: int, found: Future[list[Found]]) -> None:
    try:
        found.set_result(_asked(host, port))
    except Exception as fault:  # noqa: BLE001 - whatever it is, who waits has to hear of it
        found.set_exception(fault)


def _is_address(host: str) -> bool:
    """Whether nobody has to be asked where that is."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _asked(host: str, port: int) -> list[Found]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
