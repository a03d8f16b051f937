"""HTTP out of the house: bounded in time and size, and guarded against addresses that are not the public's.

    HttpError
    ├── NotSent      nothing reached the other side: trying again is safe
    │   └── Blocked  the guard refused the address or the scheme: trying again is useless
    └── NoAnswer     something may have reached it, and no whole answer came back: the outcome is unknown

A connection lives for one call. One that was kept may die between two calls, and then nobody can say whether the
second request was sent; creating a video is not a request to guess about. So a call has two halves: what fails until
the connection stands, TLS and all, was not sent; whatever fails later may have been.
"""

from __future__ import annotations

import errno
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from urllib.parse import urljoin, urlsplit

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError as TransportError
from urllib3.exceptions import LocationParseError
from urllib3.response import HTTPResponse
from urllib3.util import parse_url

from infra.dial import Pace, dial
from infra.guard import Guard, address_of, is_http_url

_CHUNK = 256 * 1024
#: What is said where the caller says nothing of it.
_ASKING = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "Reelhook"}
_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})
_MOVED = frozenset({301, 302, 303, 307, 308})
#: Who answers before all of a body has come, and hangs up, is still heard.
_HUNG_UP = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE})
#: What a connection, a parser or a decoder raises over bytes that are not what they should be.
_BROKEN = (HTTPException, TransportError, OSError, ValueError, RuntimeError, zlib.error)
_REDIRECTS = 3


class HttpError(Exception):
    """A call failed before there was a whole answer. The text never holds a query string."""


class NotSent(HttpError):
    """Nothing reached the other side."""


class Blocked(NotSent):
    """The guard refused where the call would have gone."""


class NoAnswer(HttpError):
    """The outcome is unknown."""


@dataclass(frozen=True)
class Answer:
    """A whole answer, its body not longer than the caller allowed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Stream:
    """An answer whose body is still coming. `chunks` raises `NoAnswer` when it breaks off or takes too long."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]
    stop: Callable[[], None]  #: makes a read that waits in another thread fail


class Http:
    """Calls with a deadline. With a guard, each address is judged before it is connected to."""

    def __init__(self, guard: Guard | None = None) -> None:
        self._guard = guard

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        seconds: float,
        limit: int = 2**22,
        cut: bool = False,
    ) -> Answer:
        """One call, no redirect followed. `seconds` bounds all of it, `limit` the answer's body in bytes.

        `cut`: only the status matters, so a body that is longer, breaks off or takes too long is cut there.
        """
        with self._open(method, url, headers, body, seconds=seconds, redirects=0) as stream:
            collect = _beginning if cut else _collect
            return Answer(stream.status, stream.headers, collect(stream.chunks, limit))

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str], *, seconds: float, slowest: float = 0) -> Iterator[Stream]:
        """GET `url`, following a few redirects, each judged by the guard.

        `seconds` bounds all of it. Where `slowest` is said, a body that brings fewer bytes a second is given up, and so
        is who takes longer with everything before it than a body may be silent.
        """
        sent = {"Accept-Encoding": "identity", **headers}
        with self._open("GET", url, sent, None, seconds=seconds, slowest=slowest) as stream:
            yield stream

    @contextmanager
    def _open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        seconds: float,
        redirects: int = _REDIRECTS,
        slowest: float = 0,
    ) -> Iterator[Stream]:
        pace = Pace(seconds, slowest)
        for _ in range(redirects + 1):
            with closing(self._dialled(url, pace)) as connection:
                sock = connection.sock  # the connection lets go of it when the other side wants to end
                with closing(_asked(connection, method, url, headers, body)) as answer:
                    onward = _onward(url, answer) if redirects else None
                    if onward is None:
                        pace.body()
                        yield Stream(answer.status, answer.headers, _paced(answer, pace, url), partial(_stop, sock))
                        return
            if _origin(url) != _origin(onward):
                headers = {name: value for name, value in headers.items() if name.lower() not in _CREDENTIALS}
            url = onward
        raise Blocked(f"{_host(url)}: more than {redirects} redirects")

    def _dialled(self, url: str, pace: Pace) -> HTTPConnection:
        """A connection to where `url` leads. Raises `NotSent`."""
        if not is_http_url(url):
            raise Blocked("not an absolute http(s) URL")
        if "@" in urlsplit(url).netloc:
            raise Blocked("a URL with credentials in it is not allowed")
        try:
            target = parse_url(url)
            return dial(target, pace.left, partial(self._judge, tls=target.scheme == "https"))
        except LocationParseError as fault:
            raise Blocked(f"{_host(url)}: {type(fault).__name__}") from fault
        except (TransportError, OSError) as fault:
            raise NotSent(f"no connection to {_host(url)} ({_bottom(fault)})") from fault
        except ValueError as fault:
            raise Blocked(f"{_host(url)[:99]}: can't be a host's name") from fault

    def _judge(self, host: str, port: int, *, tls: bool) -> None:
        """Of an address that is connected to next: what else DNS says of its name does not matter."""
        if self._guard and (refusal := self._guard.refusal(address_of(host), port, tls=tls)):
            raise Blocked(refusal)


def _asked(
    connection: HTTPConnection, method: str, url: str, headers: Mapping[str, str], body: bytes | None
) -> HTTPResponse:
    """The answer to a request, once its headers have come. Raises `NoAnswer`."""
    given = {name.lower() for name in headers}
    sent = {**{name: value for name, value in _ASKING.items() if name.lower() not in given}, **headers}
    try:
        try:
            connection.request(method, parse_url(url).request_uri, body, sent, preload_content=False)
        except OSError as fault:  # first of these two, for some errors of TLS are both
            if fault.errno not in _HUNG_UP:
                raise
        except ValueError as fault:  # looked at before anything leaves; the text may hold a secret
            raise NotSent(f"{_host(url)}: a header or the method can't be sent") from fault
        return connection.getresponse()
    except _BROKEN as fault:
        raise NoAnswer(f"no answer from {_host(url)} ({_bottom(fault)})") from fault


def _paced(answer: HTTPResponse, pace: Pace, url: str) -> Iterator[bytes]:
    # A piece is whatever came: to wait for a whole block would let a dripping source outlive every limit.
    while chunk := _piece(answer, url):
        if fault := pace.fault(len(chunk)):
            raise NoAnswer(f"{_host(url)} {fault}")
        yield chunk


def _piece(answer: HTTPResponse, url: str) -> bytes:
    try:
        return answer.read1(_CHUNK, decode_content=True)
    except _BROKEN as fault:
        raise NoAnswer(f"the answer of {_host(url)} broke off ({_bottom(fault)})") from fault


def _onward(url: str, answer: HTTPResponse) -> str | None:
    """Where an answer says that the thing is instead. Raises `NoAnswer` where that is no place."""
    location = answer.headers.get("Location") if answer.status in _MOVED else None
    if not location:
        return None
    try:
        return urljoin(url, location.encode("latin-1").decode(errors="replace"))
    except ValueError as fault:
        raise NoAnswer(f"{_host(url)} redirects to what is no URL") from fault


def _stop(sock: socket.socket) -> None:
    with suppress(OSError):  # all of it has come already, or the connection is gone
        # Below TLS: its own way would let the other thread read on without it, ciphers as if they were the file.
        socket.socket.shutdown(sock, socket.SHUT_RD)


def _collect(chunks: Iterator[bytes], limit: int) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise NoAnswer(f"the answer is longer than {limit} bytes")
    return bytes(body)


def _beginning(chunks: Iterator[bytes], limit: int) -> bytes:
    body = bytearray()
    with suppress(NoAnswer):
        for chunk in chunks:
            body += chunk
            if len(body) >= limit:
                break
    return bytes(body[:limit])


def _bottom(fault: BaseException) -> str:
    """What a fault came from, as the libraries in between wrap it."""
    return type(fault.__cause__ or fault).__name__


def _host(url: str) -> str:
    return urlsplit(url).hostname or "?"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
