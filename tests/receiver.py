"""A caller's app that takes callbacks, as far as tests need one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook

from worker.jobs.tokens import signing_secret


@dataclass(frozen=True)
class Reply:
    """An answer that is more than a status. `body` is repeated for ever when it is `endless`."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    endless: bool = False


@dataclass
class Receiver:
    """What came in, and what is to be answered: `answers` are used up one by one, then 200."""

    url: str = ""
    answers: list[int | Reply] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  #: when each came, seconds since the epoch
    moments: list[float] = field(default_factory=list)  #: when each came, in seconds since the epoch

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies that came, in order."""
        return [json.loads(body) for body in self.raw]

    def verify(self, secret: str, caller: str = "default") -> None:
        """Every delivery verifies with the caller's secret. Raises what the verifier raises."""
        webhook = Webhook(signing_secret(secret.encode(), caller))
        for headers, body in zip(self.headers, self.raw, strict=True):
            webhook.verify(body, dict(headers))


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver that listens on loopback."""
    into = Receiver()
    one_by_one = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        """Keeps what it is sent."""

        def do_POST(self) -> None:
            """Take one delivery."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with one_by_one:  # what came together stands in the same place of each list
                into.headers.append({name.lower(): value for name, value in self.headers.items()})
                into.moments.append(time.time())
                into.raw.append(body)
                into.times.append(time.time())
                answer = into.answers.pop(0) if into.answers else 200
            reply = Reply(answer) if isinstance(answer, int) else answer
            self.send_response(reply.status)
            if not reply.endless:
                self.send_header("Content-Length", str(len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # whoever reads an endless body hangs up some time
                self.wfile.write(reply.body)
                while reply.endless:
                    self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    into.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield into
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
