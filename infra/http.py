"""HTTP out of the house: bounded in time and size, and guarded against addresses that are not the public's.

    HttpError
    ├── NotSent      nothing reached the other side: trying again is safe
    │   ├── Blocked  the guard refused where the name leads now: another time it may lead elsewhere
    │   └── NoPlace  the URL is none that can be called: trying again is useless
    └── NoAnswer     something may have reached it, and no whole answer came back: the outcome is unknown

A connection lives for one call. One that was kept may die between two calls, and then nobody can say whether the
second request was sent; creating a video is not a request to guess about. So a call has two halves: what fails until
the connection stands, TLS and all, was not sent; whatever fails later may have been.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from urllib.parse import urljoin, urlsplit

from urllib3.util import Url

from infra.dial import Pace, dial
from infra.exchange import Broken, Reply, send, written
from infra.guard import Guard, address_of
from infra.urls import PORTS, BadUrl, parsed

#: What is said where the caller says nothing of it.
_ASKING = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "Reelhook"}
_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})
_MOVED = frozenset({301, 302, 303, 307, 308})
#: What a connection or a decoder raises over bytes that are not what they should be.
_BROKEN = (Broken, OSError, ValueError, zlib.error)
_REDIRECTS = 3


class HttpError(Exception):
    """A call failed before there was a whole answer. The text never holds a query string."""


class NotSent(HttpError):
    """Nothing reached the other side."""


class Blocked(NotSent):
    """The guard refused where the call would have gone."""


class NoPlace(NotSent):
    """The URL leads nowhere, whoever is asked for its host and whatever is allowed."""


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
    """Calls with a deadline. With a guard, each address is judged before it is connected to. Neither proxies nor
    credentials are taken from the environment: a proxy would connect where no guard could look.

    `authorities`: a file of those whose certificates are believed, in place of the usual ones.
    """

    def __init__(self, guard: Guard | None = None, authorities: str | None = None) -> None:
        self._guard = guard
        self._authorities = authorities

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
        may: Callable[[], bool] | None = None,
    ) -> Answer:
        """One call, no redirect followed. `seconds` bounds all of it, `limit` the answer's body in bytes.

        `cut`: only the status matters, so a body that is longer, breaks off or takes too long is cut there. `may` is
        asked last before the first byte leaves; where it says no none does, and that is `NotSent`.
        """
        with self._open(method, url, headers, body, seconds=seconds, redirects=0, may=may) as stream:
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
        may: Callable[[], bool] | None = None,
    ) -> Iterator[Stream]:
        pace = Pace(seconds, slowest)
        for _ in range(redirects + 1):
            target = _parsed(url)
            with closing(self._dialled(target, pace)) as sock:
                answer = _asked(sock, method, target, headers, body, pace, may)
                onward = _onward(url, answer) if redirects else None
                if onward is None:
                    pace.body()
                    yield Stream(answer.status, answer.headers, _paced(answer, pace, url), partial(_stop, sock))
                    return
            if _origin(url) != _origin(onward):
                headers = {name: value for name, value in headers.items() if name.lower() not in _CREDENTIALS}
            url = onward
        raise Blocked(f"{_host(url)}: more than {redirects} redirects")

    def _dialled(self, target: Url, pace: Pace) -> socket.socket:
        """A connection to where `target` leads. Raises `NotSent`."""
        try:
            return dial(target, pace.left, partial(self._judge, target), self._authorities)
        except ssl.SSLCertVerificationError as fault:
            said = f"{type(fault).__name__}: {fault.verify_message}"
            raise NotSent(f"no connection to {target.hostname} ({said})") from fault
        except OSError as fault:  # first, for some errors of TLS are both
            raise NotSent(f"no connection to {target.hostname} ({type(fault).__name__})") from fault
        except ValueError as fault:
            raise NoPlace(f"{str(target.hostname)[:99]}: can't be a host's name") from fault

    def _judge(self, target: Url, address: str, port: int) -> None:
        """Of an address that is connected to next: what else DNS says of its name does not matter."""
        tls = target.scheme == "https"
        if self._guard and (refusal := self._guard.refusal(address_of(address), port, tls=tls)):
            raise Blocked(f"{target.hostname} was not called: {refusal}")


def _parsed(url: str) -> Url:
    """`url` as it is sent. Raises `NoPlace`."""
    try:
        return parsed(url)
    except BadUrl as fault:
        raise NoPlace(f"the URL {fault}") from fault


def _asked(
    sock: socket.socket,
    method: str,
    target: Url,
    headers: Mapping[str, str],
    body: bytes | None,
    pace: Pace,
    may: Callable[[], bool] | None,
) -> Reply:
    """The answer to a request, once its headers have come. Raises `NoAnswer`, or `NotSent` where it may not leave."""
    given = {name.lower() for name in headers}
    sent = {**{name: value for name, value in _ASKING.items() if name.lower() not in given}, **headers}
    try:
        head = written(method, target.request_uri, _named(target), sent, body)
    except ValueError as fault:  # its text may hold a secret
        raise NotSent(f"{target.hostname}: a header or the method can't be sent") from fault
    if may and not may():
        raise NotSent(f"it took too long until {target.hostname} could be asked")
    try:
        sock.settimeout(pace.left())
        send(sock, head, body)
        return Reply(sock, pace.left, bodiless=method == "HEAD")
    except _BROKEN as fault:
        raise NoAnswer(f"no answer from {target.hostname} ({type(fault).__name__})") from fault


def _paced(answer: Reply, pace: Pace, url: str) -> Iterator[bytes]:
    # A piece is whatever came: to wait for a whole block would let a dripping source outlive every limit.
    while chunk := _piece(answer, url):
        if fault := pace.fault(len(chunk)):
            raise NoAnswer(f"{_host(url)} {fault}")
        yield chunk


def _piece(answer: Reply, url: str) -> bytes:
    try:
        return answer.piece()
    except _BROKEN as fault:
        raise NoAnswer(f"the answer of {_host(url)} broke off ({type(fault).__name__})") from fault


def _onward(url: str, answer: Reply) -> str | None:
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


def _named(target: Url) -> str:
    """A host as requests name it: with its port where that is not the usual one."""
    host = (target.host or "").rstrip(".")
    return host if target.port in (None, PORTS[target.scheme or "http"]) else f"{host}:{target.port}"


def _host(url: str) -> str:
    return urlsplit(url).hostname or "?"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
