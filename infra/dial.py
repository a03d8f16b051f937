"""One connection for one exchange: judged once it is made, and waited for no longer than the exchange may take."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from functools import cache, partial
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from typing import Any

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Url
from urllib3.util.ssl_ import create_urllib3_context

#: So long may a body be silent whose speed matters, and over so long that is measured.
_SILENCE_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
#: Seconds that may still be waited. Raises `TimeoutError` when there are none.
Left = Callable[[], float]
#: Raises where the peer at the other end must not be talked to.
Judge = Callable[[socket.socket], None]


class Pace:
    """A deadline for a whole exchange, and bytes a second that a body must bring; 0 where its speed does not matter."""

    def __init__(self, seconds: float, slowest: float = 0) -> None:
        now = time.monotonic()
        self._end = now + seconds
        self._silence = _SILENCE_SECONDS if slowest else seconds
        self._least = slowest * _SILENCE_SECONDS
        self._look = now + _SILENCE_SECONDS
        self._come = 0

    def left(self) -> float:
        """Seconds that may be waited for the next byte. Raises `TimeoutError` when the time is used up."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, self._silence)

    def fault(self, count: int) -> str | None:
        """What is wrong with getting `count` more bytes only now."""
        now = time.monotonic()
        if now > self._end:
            return "took too long to send its answer"
        self._come += count
        if now > self._look:
            if self._come < self._least:
                return "sends its answer too slowly"
            self._look, self._come = now + _SILENCE_SECONDS, 0
        return None


def dial(url: Url, left: Left, judge: Judge | None) -> HTTPConnection:
    """A connection to where `url` leads, of which `judge` thought well before a byte was sent."""
    connection: _Plain | _Tls
    host, seconds = (url.host or "").strip("[]"), min(_CONNECT_SECONDS, left())
    if url.scheme == "https":
        connection = _Tls(host, url.port, timeout=seconds, ssl_context=_tls())
    else:
        connection = _Plain(host, url.port, timeout=seconds)
    connection.judge = judge
    connection.response_class = partial(_Answer, left)  # type: ignore[assignment]  # it is only ever called
    try:
        connection.connect()
        connection.sock.settimeout(left())
    except BaseException:
        connection.close()
        raise
    connection.timeout = left()
    return connection


@cache
def _tls() -> ssl.SSLContext:
    """One for all: to read the certificates of every authority costs more than all the rest of a call."""
    context = create_urllib3_context()
    context.load_verify_locations(certifi.where())
    return context


class _Plain(HTTPConnection):
    judge: Judge | None = None

    def _new_conn(self) -> socket.socket:
        return _judged(super()._new_conn(), self.judge)


class _Tls(HTTPSConnection):
    judge: Judge | None = None

    def _new_conn(self) -> socket.socket:
        return _judged(super()._new_conn(), self.judge)


def _judged(sock: socket.socket, judge: Judge | None) -> socket.socket:
    try:
        if judge:
            judge(sock)
    except BaseException:
        sock.close()
        raise
    return sock


class _Answer(HTTPResponse):
    """An answer, each byte of which has to come in time: one now and then would renew a limit on silence for ever."""

    def __init__(self, left: Left, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = BufferedReader(_Patient(self.fp.detach(), sock, left))


class _Patient(RawIOBase):
    """What comes out of a socket."""

    def __init__(self, raw: RawIOBase, sock: socket.socket, left: Left) -> None:
        self._raw = raw
        self._sock = sock
        self._left = left

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        """Wait for bytes as long as there is time. Raises `TimeoutError`."""
        self._sock.settimeout(self._left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()
