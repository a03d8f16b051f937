"""One connection for one exchange: judged before it is made, and waited for no longer than the exchange may take."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import cache
from typing import Any

import certifi
from urllib3.util import Url
from urllib3.util.ssl_ import create_urllib3_context

from infra.elapsed import elapsed
from infra.names import look_up
from infra.urls import host_of, port_of

#: So long may a body be silent whose speed matters, so long may it keep us waiting, and over so long that is measured.
_SILENCE_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
#: Seconds that may still be waited. Raises `TimeoutError` when there are none.
Left = Callable[[], float]
#: Of an address and a port: raises where they must not be talked to.
Judge = Callable[[str, int], None]


class Pace:
    """A deadline for a whole exchange, and bytes a second that a body must bring; 0 where its speed does not matter."""

    def __init__(self, seconds: float, slowest: float = 0, clock: Callable[[], float] = elapsed) -> None:
        self._clock = clock
        now = clock()
        self._end = now + seconds
        self._silence = _SILENCE_SECONDS if slowest else seconds
        self._least = slowest * _SILENCE_SECONDS
        self._until = now + self._silence  # everything before the body: what drips is not silent, and brings nothing
        self._look = self._end
        self._come = 0

    def left(self) -> float:
        """Seconds that may be waited for the next byte. Raises `TimeoutError` when the time is used up."""
        left = min(self._end, self._until) - self._clock()
        if left <= 0:
            raise TimeoutError
        return min(left, self._silence)

    def body(self) -> None:
        """From now on the body comes."""
        self._measure(self._clock())

    def fault(self, count: int) -> str | None:
        """What is wrong with getting `count` more bytes only now."""
        now = self._clock()
        if now > self._end:
            return "took too long to send its answer"
        self._come += count
        if now > self._look:
            if self._come < self._least:
                return "sends its answer too slowly"
            self._measure(now)
        return None

    def _measure(self, now: float) -> None:
        self._look, self._come = now + self._silence, 0
        self._until = self._look + self._silence  # also for the next piece: the words between two pieces may drip


def dial(url: Url, left: Left, judge: Judge | None, authorities: str | None = None) -> socket.socket:
    """A connection to where `url` leads, to an address that `judge` thought well of. Ready to be asked.

    `authorities`: a file of those whose certificates are believed, in place of the usual ones.
    """
    host = host_of(url)
    sock = _reach(host, port_of(url), left=left, judge=judge)
    if url.scheme != "https":
        return sock
    try:
        return _tls(authorities).wrap_socket(sock, server_hostname=host.rstrip("."))
    except BaseException:
        sock.close()
        raise


@cache
def _tls(authorities: str | None) -> ssl.SSLContext:
    """One for all: to read the certificates of every authority costs more than all the rest of a call."""
    context = create_urllib3_context()
    context.load_verify_locations(authorities or certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reach(host: str, port: int, *, left: Left, judge: Judge | None) -> socket.socket:
    """A socket at the first address of `host` that answers. A name may have many: all of them share one deadline."""
    fault = OSError("no address")
    for family, kind, protocol, _, where in look_up(host, port, left()):
        if judge:
            judge(str(where[0]), port)
        try:
            return _connected(socket.socket(family, kind, protocol), where, left)
        except OSError as refused:
            fault = refused
    raise fault


def _connected(sock: socket.socket, where: Any, left: Left) -> socket.socket:
    try:
        sock.settimeout(min(_CONNECT_SECONDS, left()))
        sock.connect(where)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(min(_CONNECT_SECONDS, left()))  # what TLS may take
    except BaseException:
        sock.close()
        raise
    return sock
