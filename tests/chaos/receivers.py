"""The receivers of announcements misbehave, each in its own way, beside one that is well."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

from infra.stack.process import wait_until
from tests.chaos.world import World
from worker.jobs.retry import LONGEST_RETRY_AFTER

_SLOW_SECONDS = 60


class Handler(BaseHTTPRequestHandler):
    """Answers as its server's `way` says."""

    server: Any

    def do_POST(self) -> None:
        """Take one delivery, in its way."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls += 1
        with suppress(OSError):  # whom it keeps waiting hangs up
            _WAYS[self.server.way](self)

    def say(self, status: int, **headers: str) -> None:
        """Answer without a body."""
        self.send_response(status)
        for name, value in {"Content_Length": "0", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


def _slow(handler: Handler) -> None:
    handler.server.ending.wait(_SLOW_SECONDS)
    handler.say(200)


def _endless(handler: Handler) -> None:
    handler.say(200, Content_Length=str(2**40))
    while not handler.server.ending.is_set():
        handler.wfile.write(b"x" * 4096)


#: How each misbehaves.
_WAYS: MappingProxyType[str, Callable[[Handler], None]] = MappingProxyType(
    {
        "slow": _slow,
        "endless": _endless,
        "inside": lambda handler: handler.say(302, Location=handler.server.secret),
        "secret": lambda handler: handler.say(200),
        "flapping": lambda handler: handler.say(500 if handler.server.calls % 3 == 1 else 200),
        "gone": lambda handler: handler.say(410),
        "busy": lambda handler: handler.say(429, Retry_After="99999999"),
        "tls": lambda handler: handler.say(200),
    }
)
#: What must have become of what each was to be told.
_WANTED = {
    "slow": "pending",
    "endless": "delivered",
    "inside": "pending",
    "flapping": "delivered",
    "gone": "given_up",
    "busy": "pending",
    "tls": "pending",
}


@contextmanager
def _serving(way: str, secret: str = "") -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.way, server.secret, server.calls, server.ending = way, secret, 0, threading.Event()
    server.url = f"{'https' if way == 'tls' else 'http'}://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        thread.join(10)
        server.server_close()


def misbehaving(world: World, jobs: int, rounds: int) -> None:
    """Slow, endless, pointing inside, flapping, without TLS, gone, busy for years: the others are told as ever."""
    with ExitStack() as stack:
        secret = stack.enter_context(_serving("secret"))
        bad = {way: stack.enter_context(_serving(way, secret.url)) for way in _WANTED}
        told: dict[str, str] = {}
        for _ in range(rounds):
            for way, server in bad.items():
                told |= dict.fromkeys(world.submit(callback_url=server.url), way)
        world.run.jobs = [job for job in world.run.jobs if job not in told]
        world.submit(jobs, every=0.2)
        world.is_healed()
        if not world.settle(60):
            world.run.faults.append("a receiver that is well was not told of everything within a minute")
        wait_until(lambda: not _amiss(world, told), 60, pause=0.5)
        world.run.faults += _amiss(world, told)
        if secret.calls:
            world.run.faults.append(f"{secret.calls} deliveries followed a redirect")
        world.rows(
            "update deliveries set state = 'given_up', due_at = null where job_id = any(%s) returning id", [*told]
        )
        time.sleep(1)


def _amiss(world: World, told: dict[str, str]) -> list[str]:
    """What did not become of the deliveries to those who misbehave as it should."""
    rows = world.rows(
        "select j.id, d.state, d.attempts, extract(epoch from d.due_at - now()) as seconds "
        "from jobs j left join deliveries d on d.job_id = j.id where j.id = any(%s)",
        [*told],
    )
    found = []
    for row in rows:
        way, wait = told[row["id"]], float(row["seconds"] or 0)
        # Behind one that failed, others to the same receiver wait untouched.
        if row["state"] != _WANTED[way] and not (
            way != "endless" and row["state"] == "pending" and not row["attempts"]
        ):
            found.append(f"what {way} was to be told is {row['state']} after {row['attempts']} attempts")
        if wait > LONGEST_RETRY_AFTER * 2:
            found.append(f"{way} is left alone for {wait:.0f} s")
    return found
