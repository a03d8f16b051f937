"""Bytes in, bytes out: HTTP/1.1 with keep-alive, a thread per connection, replies that can be spoiled on purpose."""

import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from infra.emulator.wire import FilePart, Reply, Request, refuse

_CHUNK = 1 << 16
_BODY_BYTES = 128 << 20
_PACED_STEP_SECONDS = 0.05


class Server(ThreadingHTTPServer):
    """Listens as soon as it is made."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], app: Callable[[Request], Reply], *, log: bool, sleep: Callable[[float], object]
    ) -> None:
        self.app = app
        self.log = log
        self.sleep = sleep
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, for `disconnect`."""
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news; anything else is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def disconnect(self) -> None:
        """End every open connection; their threads end with them."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "KlingEmulator"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = _CHUNK
    #: Seconds that an idle connection is kept.
    timeout = 120

    def _handle(self) -> None:
        request = self._read()
        reply = self._answer(request) if request else refuse(1200, "a body needs a Content-Length")
        if self.server.log:
            self._log(reply)
        self._send(reply)

    # The names are those that http.server calls.
    do_GET = do_HEAD = do_POST = _handle  # noqa: N815
    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _handle  # noqa: N815

    def _read(self) -> Request | None:
        """The request with its whole body; None if its length cannot be known, or is too much."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > _BODY_BYTES:
            self.close_connection = True
            return None
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(length))
        return Request(self.command, unquote(url.path), dict(parse_qsl(url.query)), headers, body)

    def _answer(self, request: Request) -> Reply:
        try:
            return self.server.app(request)
        except Exception:  # noqa: BLE001 - a bug of the emulator must look like Kling's own 5000, and be seen
            traceback.print_exc()
            return refuse(5000, "Server internal error")

    def _send(self, reply: Reply) -> None:
        if reply.dropped:
            self._hang_up()
            return
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(reply.length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(reply)
        self.wfile.flush()

    def _send_body(self, reply: Reply) -> None:
        left = reply.length if reply.cut is None else reply.cut
        chunk = _CHUNK if reply.pace is None else max(1, int(reply.pace * _PACED_STEP_SECONDS))
        for piece in _pieces(reply.body, left, chunk):
            self.wfile.write(piece)
            if reply.pace is not None:
                self.wfile.flush()
                self.server.sleep(len(piece) / reply.pace)
        if reply.cut is not None:
            self.wfile.flush()
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _log(self, reply: Reply) -> None:
        """The path goes without its query, the headers not at all: nothing secret is written."""
        line = {
            "at": round(time.time(), 3), "method": self.command, "path": urlsplit(self.path).path,
            "status": "dropped" if reply.dropped else reply.status, "task_id": reply.task_id,
        }  # fmt: skip
        sys.stderr.write(json.dumps(line) + "\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Nothing: `_log` says it."""


def _pieces(body: bytes | FilePart, length: int, chunk: int) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield from (body[start : min(start + chunk, length)] for start in range(0, length, chunk))
        return
    with body.path.open("rb") as file:
        file.seek(body.start)
        while length > 0 and (piece := file.read(min(chunk, length))):
            yield piece
            length -= len(piece)
