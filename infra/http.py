"""HTTP out of the house: bounded in time and size, and guarded against addresses that are not the public's.

    HttpError
    ├── NotSent      nothing reached the other side: trying again is safe
    │   └── Blocked  the guard refused the address or the scheme: trying again is useless
    └── NoAnswer     something may have reached it, and no whole answer came back: the outcome is unknown

A connection lives for one call. One that was kept may die between two calls, and then nobody can say whether the
second request was sent; creating a video is not a request to guess about. So a call has two halves: what fails until
the connection stands was not sent, whatever fails later may have been.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urljoin, urlsplit

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError as TransportError
from urllib3.exceptions import LocationParseError
from urllib3.response import HTTPResponse
from urllib3.util import parse_url

from infra.dial import Pace, dial
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
#: What is said where the caller says nothing of it.
_ASKING = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "Reelhook"}
_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})
_MOVED = frozenset({301, 302, 303, 307, 308})
#: Who answers before all of a body has come, and hangs up, is still heard.
_HUNG_UP = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE})
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
        pace = Pace(seconds, slowest)
        for _ in range(redirects + 1):
            with closing(self._dialled(url, pace)) as connection:
                sock = connection.sock  # the connection lets go of it when the other side wants to end
                with closing(_asked(connection, method, url, headers, body)) as answer:
                    onward = _onward(url, answer) if redirects else None
                    if onward is None:
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

    def _judge(self, sock: socket.socket, *, tls: bool) -> None:
        """What DNS said before the connection was made does not matter, so rebinding cannot help."""
        if self._guard is None:
            return
        host, port = sock.getpeername()[:2]
        if refusal := self._guard.refusal(ip_address(str(host).partition("%")[0]), port, tls=tls):
            raise Blocked(refusal)


def is_http_url(url: str) -> bool:
    """Whether `url` is an absolute http or https URL with a host and a possible port."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        return False


def _asked(
    connection: HTTPConnection, method: str, url: str, headers: Mapping[str, str], body: bytes | None
) -> HTTPResponse:
    """The answer to a request, once its headers have come. Raises `NoAnswer`."""
    given = {name.lower() for name in headers}
    sent = {**{name: value for name, value in _ASKING.items() if name.lower() not in given}, **headers}
    try:
        try:
            connection.request(method, parse_url(url).request_uri, body, sent, preload_content=False)
        except ValueError as fault:  # looked at before anything leaves; the text may hold a secret
            raise NotSent(f"{_host(url)}: a header or the method can't be sent") from fault
        except OSError as fault:
            if fault.errno not in _HUNG_UP:
                raise
        return connection.getresponse()
    except (HTTPException, TransportError, OSError) as fault:
        raise NoAnswer(f"no answer from {_host(url)} ({_bottom(fault)})") from fault


def _paced(answer: HTTPResponse, pace: Pace, url: str) -> Iterator[bytes]:
    try:
        # read1: whatever came. To wait for a whole block would let a dripping source outlive every limit.
        while chunk := answer.read1(_CHUNK, decode_content=True):
            if fault := pace.fault(len(chunk)):
                raise NoAnswer(f"{_host(url)} {fault}")
            yield chunk
    except (HTTPException, TransportError, OSError) as fault:
        raise NoAnswer(f"the answer of {_host(url)} broke off ({_bottom(fault)})") from fault


def _onward(url: str, answer: HTTPResponse) -> str | None:
    """Where an answer says that the thing is instead."""
    location = answer.headers.get("Location") if answer.status in _MOVED else None
    return urljoin(url, location.encode("latin-1").decode(errors="replace")) if location else None


def _stop(sock: socket.socket) -> None:
    with suppress(OSError):  # all of it has come already, or the connection is gone
        sock.shutdown(socket.SHUT_RD)


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
