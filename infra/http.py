"""HTTP out of the house: bounded in time and size, and guarded against addresses that are not the public's.

    HttpError
    ├── NotSent      nothing reached the other side: trying again is safe
    │   └── Blocked  the guard refused the address or the scheme: trying again is useless
    └── NoAnswer     something may have reached it, and no whole answer came back: the outcome is unknown

A session lives for one call. A pooled connection may die between two calls, and then nobody can say whether the
second request was sent; creating a video is not a request to guess about.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError as TransportError
from urllib3.exceptions import MaxRetryError, NewConnectionError
from urllib3.exceptions import SSLError as TransportTlsError

from infra.settings import Network

Address = IPv4Address | IPv6Address

#: Reached by `ipaddress.is_global` although they lead inside: NAT64, 6to4, Teredo, site-local, protocol assignments.
_LEADS_INSIDE = tuple(
    ip_network(text)
    for text in (
        "64:ff9b::/32", "2002::/16", "2001::/32", "fec0::/10", "192.0.0.0/24", "192.88.99.0/24", "100.64.0.0/10"
    )
)  # fmt: skip
_CHUNK = 256 * 1024
_CONNECT_SECONDS = 5.0
#: So long may a body be silent, and over so long its speed is measured.
_SILENCE_SECONDS = 30.0
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


class Guard:
    """Which peers may be talked to: the public ones by https, the allowed networks by http too."""

    def __init__(self, allow: tuple[Network, ...] = (), ports: tuple[int, ...] = (443, 8443)) -> None:
        self._allow = allow
        self._ports = ports

    def refusal(self, peer: Address, port: int = 443, *, tls: bool) -> str | None:
        """Why `peer` must not be talked to at `port`; None when it may."""
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped:
            peer = peer.ipv4_mapped
        if any(peer in network for network in self._allow):
            return None
        if not peer.is_global or peer.is_multicast or any(peer in network for network in _LEADS_INSIDE):
            return "the address is not a public one"
        if not tls:
            return "plain http is not allowed"
        return None if port in self._ports else f"port {port} is not allowed"

    def refusal_of(self, url: str) -> str | None:
        """Why `url` must not be used, as far as can be known before a connection is made; None when it may be."""
        if not is_http_url(url):
            return "must be an absolute http:// or https:// URL"
        parts = urlsplit(url)
        if "@" in parts.netloc:
            return "must not hold credentials"
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        try:
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return "names a host that can't be resolved"
        peers = [ip_address(str(where[4][0]).partition("%")[0]) for where in found]
        return next((reason for peer in peers if (reason := self.refusal(peer, port, tls=tls))), None)


class Http:
    """Calls with a deadline. With a guard, each connection is judged after it is made and before a byte is sent."""

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

        `seconds` bounds all of it. A body that brings fewer than `slowest` bytes a second is given up.
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
        self._check_url(url)
        silence = min(_SILENCE_SECONDS, seconds) if slowest else seconds
        pace = _Pace(time.monotonic() + seconds, slowest)
        with self._session(redirects) as session:
            try:
                with _hung_up_after(seconds, url) if self._guard else nullcontext():
                    answer = session.request(
                        method,
                        url,
                        headers=dict(headers),
                        data=body,
                        stream=True,
                        allow_redirects=redirects > 0,
                        timeout=(min(_CONNECT_SECONDS, seconds), silence),
                    )
            except (requests.RequestException, TransportError) as fault:
                raise _sorted(fault, url) from fault
            with answer:
                yield Stream(answer.status_code, answer.headers, _paced(answer, pace, url), partial(_stop, answer))

    def _check_url(self, url: str) -> None:
        if not is_http_url(url):
            raise Blocked("not an absolute http(s) URL")
        if self._guard and "@" in urlsplit(url).netloc:
            raise Blocked("a URL with credentials in it is not allowed")

    def _session(self, redirects: int) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no .netrc, no proxy: nothing may add credentials or another way
        session.max_redirects = max(redirects, 1)
        if self._guard:
            adapter = _GuardedAdapter(self._guard)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
        return session


def is_http_url(url: str) -> bool:
    """Whether `url` is an absolute http or https URL with a host and a possible port."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        return False


class _Pace:
    """A deadline for a whole answer, and a speed that it must keep, looked at every `_SILENCE_SECONDS`."""

    def __init__(self, end: float, slowest: float) -> None:
        self._end = end
        self._least = slowest * _SILENCE_SECONDS
        self._look = time.monotonic() + _SILENCE_SECONDS
        self._come = 0

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


def _paced(answer: requests.Response, pace: _Pace, url: str) -> Iterator[bytes]:
    try:
        # read1: whatever came. To wait for a whole block would let a dripping source outlive every limit.
        while chunk := answer.raw.read1(_CHUNK, decode_content=True):
            if fault := pace.fault(len(chunk)):
                raise NoAnswer(f"{_host(url)} {fault}")
            yield chunk
    except (requests.RequestException, TransportError, OSError) as fault:
        raise NoAnswer(f"the answer of {_host(url)} broke off ({type(fault).__name__})") from fault


def _stop(answer: requests.Response) -> None:
    with suppress(RuntimeError, ValueError, OSError):  # all of it has come already, or the connection is gone
        answer.raw.shutdown()


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


def _sorted(fault: Exception, url: str) -> HttpError:
    """Whether anything was sent is the whole question, and only the cause at the bottom can answer it."""
    causes = list(_causes(fault))
    for cause in causes:
        if isinstance(cause, Blocked):
            return cause
    unsent = (NewConnectionError, ssl.SSLError, TransportTlsError)
    if isinstance(fault, requests.ConnectTimeout) or any(isinstance(cause, unsent) for cause in causes):
        return NotSent(f"no connection to {_host(url)} ({type(causes[-1]).__name__})")
    if isinstance(
        fault, requests.TooManyRedirects | requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema
    ):
        return Blocked(f"{_host(url)}: {type(fault).__name__}")
    return NoAnswer(f"no answer from {_host(url)} ({type(causes[-1]).__name__})")


def _causes(fault: BaseException) -> Iterator[BaseException]:
    yield fault
    if isinstance(fault, MaxRetryError) and fault.reason:
        yield from _causes(fault.reason)
    elif fault.args and isinstance(fault.args[0], BaseException):
        yield from _causes(fault.args[0])
    elif fault.__cause__:
        yield from _causes(fault.__cause__)


_calls = threading.local()


@contextmanager
def _hung_up_after(seconds: float, url: str) -> Iterator[None]:
    """Hang up on whoever has not sent all headers by then: a byte now and then would renew every other limit."""
    connections: list[HTTPConnection] = []
    _calls.connections = connections  # those that this thread makes now, see `_pools`
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        for connection in connections:
            with suppress(OSError):
                if connection.sock:
                    connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if late.is_set():  # headers that end where we hung up look whole
        raise NoAnswer(f"{_host(url)} took too long to send its headers")


def _host(url: str) -> str:
    return urlsplit(url).hostname or "?"


class _GuardedAdapter(HTTPAdapter):
    """Judges each connection after connect: what DNS said before does not matter, so rebinding cannot help."""

    def __init__(self, guard: Guard) -> None:
        self._judge = guard
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools build connections that ask the guard."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._judge)


@lru_cache(maxsize=8)
def _pools(guard: Guard) -> dict[str, Any]:
    """Classes cost more to make than to use, and a session lives for one call."""

    def judged(sock: Any, *, tls: bool) -> Any:
        host, port = sock.getpeername()[:2]
        if refusal := guard.refusal(ip_address(str(host).partition("%")[0]), port, tls=tls):
            sock.close()
            raise Blocked(refusal)
        return sock

    class Plain(HTTPConnection):
        def _new_conn(self) -> Any:
            _calls.connections.append(self)
            return judged(super()._new_conn(), tls=False)

    class Tls(HTTPSConnection):
        def _new_conn(self) -> Any:
            _calls.connections.append(self)
            return judged(super()._new_conn(), tls=True)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}
