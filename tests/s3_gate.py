"""An HTTP proxy on loopback that speaks S3's errors: what a real store in front of it refuses when it is told to.

    with Gate(settings.s3_endpoint_url) as gate:
        gate.refuse("part", 503, "SlowDown", times=2)
        ...

Requests pass as they came, signature and all. Addressing is by path.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

_PIECE = 2**20
#: Parts of the query that make an operation another one.
_BY_QUERY = (
    ("GET", "uploads", "list uploads"), ("GET", "lifecycle", "lifecycle"), ("GET", "versioning", "versions"),
    ("GET", "versions", "list versions"), ("DELETE", "versionId", "delete version"),
    ("PUT", "lifecycle", "set lifecycle"), ("POST", "uploads", "begin"), ("PUT", "partNumber", "part"),
    ("POST", "uploadId", "complete"), ("DELETE", "uploadId", "abort"), ("GET", "list-type", "list"),
)  # fmt: skip


@dataclass
class Refusal:
    """What is refused, and how."""

    operation: str
    status: int
    code: str
    message: str = "no"
    body: bytes = b""  #: said in place of code and message
    times: int = 10**9
    done_first: bool = False  #: the store does it all the same, and nobody hears of that
    when: Callable[[Any], bool] = lambda _: True  #: asked of the request's headers
    ends: str = ""  #: of keys that end so


@dataclass
class Gate:
    """The proxy. `heard` is every operation in order."""

    target: str
    heard: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def refuse(self, operation: str, status: int, code: str, **how: Any) -> None:
        """Answer the next requests of this kind with an error. See `Refusal`."""
        self.refusals.append(Refusal(operation, status, code, **how))

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.gate = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Its address, as an endpoint."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def refusal(self, operation: str, path: str, headers: Any) -> Refusal | None:
        """What a request of this kind meets."""
        for one in self.refusals:
            if one.operation == operation and one.times > 0 and path.endswith(one.ends) and one.when(headers):
                with self._counting:  # parts come two at a time, and one refusal is one of theirs
                    if one.times > 0:
                        one.times -= 1
                        return one
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    gate: Gate

    def handle_error(self, *_: object) -> None:
        """Clients that go away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        """Pass a request on, or refuse it."""
        parts = urlsplit(self.path)
        operation = _operation(self.command, parts.path, set(parse_qs(parts.query, keep_blank_values=True)))
        if operation == "put" and "x-amz-copy-source" in self.headers:
            operation = "copy"
        self.server.gate.heard.append(operation)
        refusal = self.server.gate.refusal(operation, parts.path, self.headers)
        if refusal is None or refusal.done_first:
            status, headers, body = self._passed_on()
        else:
            self._drain()
        if refusal is not None:
            status, headers = refusal.status, [("Content-Type", "application/xml")]
            said = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
            body = refusal.body or said.encode()
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "transfer-encoding", "connection"} or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        elif refusal is not None:
            self.send_header("Content-Length", "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the library's names

    def _passed_on(self) -> tuple[int, list[tuple[str, str]], bytes]:
        target = urlsplit(self.server.gate.target)
        there = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        try:
            there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                there.putheader(name, value)
            there.endheaders()
            for piece in self._pieces():
                there.send(piece)
            answer = there.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            there.close()

    def _pieces(self) -> Any:
        left = int(self.headers.get("Content-Length") or 0)
        while left and (piece := self.rfile.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece

    def _drain(self) -> None:
        with suppress(OSError):
            for _ in self._pieces():
                pass


def _operation(method: str, path: str, query: set[str]) -> str:
    named = next((name for verb, word, name in _BY_QUERY if verb == method and word in query), None)
    return named or {"GET": "get", "PUT": "put", "HEAD": "head", "DELETE": "delete"}.get(method, method)
