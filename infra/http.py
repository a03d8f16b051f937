"""HTTP out of the house: bounded in time and size, and guarded against addresses that are not the public's.

    HttpError
    ├── NotSent      nothing reached the other side: trying again is safe
    │   └── Blocked  the guard refused the address or the scheme: trying again is useless
    └── NoAnswer     something may have reached it, and no whole answer came back: the outcome is unknown

A session lives for one call. A pooled connection may die between two calls, and then nobody can say whether the
second request was sent; creating a video is not a request to guess about.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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


class Guard:
    """Which peers may be talked to: the public ones by https, the allowed networks by http too."""

    def __init__(self, allow: tuple[Network, ...] = ()) -> None:
        self._allow = allow

    def refusal(self, peer: Address, *, tls: bool) -> str | None:
        """Why `peer` must not be talked to; None when it may."""
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped:
            peer = peer.ipv4_mapped
        if any(peer in network for network in self._allow):
            return None
        if not peer.is_global or peer.is_multicast or any(peer in network for network in _LEADS_INSIDE):
            return "the address is not a public one"
        return None if tls else "plain http is not allowed"


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
    ) -> Answer:
        """One call, no redirect followed. `seconds` bounds all of it, `limit` the answer's body in bytes."""
        with self._open(method, url, headers, body, seconds=seconds, redirects=0) as stream:
            return Answer(stream.status, stream.headers, _collect(stream.chunks, limit))

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str], *, seconds: float) -> Iterator[Stream]:
        """GET `url`, following a few redirects, each judged by the guard. `seconds` bounds all of it."""
        with self._open("GET", url, {"Accept-Encoding": "identity", **headers}, None, seconds=seconds) as stream:
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
    ) -> Iterator[Stream]:
        self._check_url(url)
        end = time.monotonic() + seconds
        with self._session(redirects) as session:
            try:
                answer = session.request(
                    method,
                    url,
                    headers=dict(headers),
                    data=body,
                    stream=True,
                    allow_redirects=redirects > 0,
                    timeout=(min(_CONNECT_SECONDS, seconds), seconds),
                )
            except (requests.RequestException, TransportError) as fault:
                raise _sorted(fault, url) from fault
            with answer:
                yield Stream(answer.status_code, answer.headers, _until(answer, end, url))

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


def _until(answer: requests.Response, end: float, url: str) -> Iterator[bytes]:
    try:
        for chunk in answer.iter_content(_CHUNK):
            if time.monotonic() > end:
                raise NoAnswer(f"{_host(url)} took too long to send its answer")
            yield chunk
    except (requests.RequestException, TransportError) as fault:
        raise NoAnswer(f"the answer of {_host(url)} broke off ({type(fault).__name__})") from fault


def _collect(chunks: Iterator[bytes], limit: int) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise NoAnswer(f"the answer is longer than {limit} bytes")
    return bytes(body)


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


def _pools(guard: Guard) -> dict[str, Any]:
    def judged(sock: Any, *, tls: bool) -> Any:
        if refusal := guard.refusal(ip_address(str(sock.getpeername()[0]).partition("%")[0]), tls=tls):
            sock.close()
            raise Blocked(refusal)
        return sock

    class Plain(HTTPConnection):
        def _new_conn(self) -> Any:
            return judged(super()._new_conn(), tls=False)

    class Tls(HTTPSConnection):
        def _new_conn(self) -> Any:
            return judged(super()._new_conn(), tls=True)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}
