"""A worker that can be killed at any point: reads orders, forks for each, and says how the child ended.

    python -m tests.integration.mortal

An order is a line of JSON: `settings` (variables), `job`, `url` (of its one video), `part_bytes`, maybe the seconds of
a `slice` and what it may `linger`, the bytes of the largest file that is laid down on the disk (`spooled`), and when to
die by SIGKILL: `call`, before the so-many-eth call to rows or bucket, or `byte`, once so many bytes have come of the
source. Where it says a `rate`, no clock tells when a slice is over but what has come of the source, which brings so
many bytes a second, however fast the machine is. With `delivery` in place of `job` that is attempted, and its process
ends as it leaves. `now` is the time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import count
from threading import Event, Timer, current_thread, main_thread
from typing import Any, cast

from infra.db import make_engine
from infra.http import Http, Stream
from infra.settings import load
from tests.fakes import FakeClock, FakeQueue, OwnHands
from tests.integration.archive_kit import FakeProvider, Yard, video
from worker import laid, parts, sender, source
from worker.services import Services
from worker.store.aside import Aside
from worker.store.attention import Attention
from worker.store.outbox import Outbox
from worker.store.repository import Repository
from worker.store.runs import Runs
from worker.tasks import archive
from worker.tasks.announce import Announcer, Ways


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Dying:
    """Stands before `target`; the process ends before its n-th call."""

    def __init__(self, target: Any, calls: Iterator[int], at: int) -> None:
        self._target, self._calls, self._at = target, calls, at

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name == "transfers":
            return _Dying(value, self._calls, self._at)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            if next(self._calls) == self._at:
                _die()
            return value(*args, **kwargs)

        return call


class _Clock:
    """Seconds in which a source has brought what came, `rate` bytes in each. Whoever reads it beside the copy goes on
    once that has looked at it.
    """

    def __init__(self, rate: int) -> None:
        self.step = max(rate // 20, 1)  #: bytes
        self._rate = rate
        self._come = 0
        self._looked = Event()
        for module in (archive, laid, parts, sender):
            vars(module)["monotonic"] = self
        vars(parts)["_LOOK"] = 0.01
        vars(laid)["Timer"] = lambda _seconds, act: Timer(3600, act)  # it is never silent

    def __call__(self) -> float:
        """How late it is."""
        self._looked.set()
        return self._come / self._rate

    def hear(self, count: int) -> None:
        """So many bytes more have come."""
        self._come += count
        if current_thread() is not main_thread():
            self._looked.clear()
            self._looked.wait(1)  # it may be at an end, too


@dataclass(frozen=True)
class _Cut:
    """The way to the source; the process ends once `at` bytes have come."""

    http: Http
    at: int
    clock: _Clock | None

    @contextmanager
    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Stream]:
        with self.http.stream(*args, **kwargs) as stream:
            yield replace(stream, chunks=self._counted(stream.chunks))

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        come = 0
        for chunk in chunks:
            step = self.clock.step if self.clock else len(chunk)
            for piece in (chunk[at : at + step] for at in range(0, len(chunk), step)):
                come += len(piece)
                if self.clock:
                    self.clock.hear(len(piece))
                if come > self.at:
                    _die()
                yield piece


@lru_cache
def _services(variables: str) -> Services:
    """Made once, before the forks: a client without a connection may be inherited, and takes long to make."""
    made = Services(load(json.loads(variables)), cast("Any", None))
    assert made.bucket.bucket
    return made


def _clock(order: dict[str, Any]) -> FakeClock:
    return FakeClock(datetime.fromisoformat(order["now"])) if "now" in order else FakeClock()


def _work(order: dict[str, Any], services: Services) -> None:
    parts.PART_BYTES = parts.LONGEST_PART = order["part_bytes"]
    parts.LINGER = order.get("linger", parts.LINGER)
    if "spooled" in order:
        vars(source)["SPOOLED_BYTES"] = order["spooled"]
    calls = iter(count())
    at = order.get("call", -1)
    engine = make_engine(services.settings, application="mortal")
    store = cast("Any", _Dying(Repository(engine), calls, at))
    changes: dict[str, Any] = {"bucket": _Dying(services.bucket, calls, at), "slice_seconds": order.get("slice", 60.0)}
    if "byte" in order:
        changes["http"] = _Cut(services.guarded, order["byte"], _Clock(order["rate"]) if "rate" in order else None)
    copier = replace(services.copier, **changes)
    provider = FakeProvider([video(order["url"])])
    rows = Aside(engine), Runs(engine), Attention(engine)
    Yard(store, services.bucket, copier, provider, *rows, clock=_clock(order), job_id=order["job"]).work()


class _Deadly:
    """The way to receivers that nobody comes back from."""

    def send(self, *_: Any, **__: Any) -> Any:
        _die()


def _tell(order: dict[str, Any], services: Services) -> None:
    engine, clock = make_engine(services.settings, application="mortal"), _clock(order)
    store, outbox, aside = Repository(engine), Outbox(engine), Aside(engine)
    ways = Ways(cast("Any", _Deadly()), FakeQueue(), OwnHands(), lambda bucket, key: f"{bucket}/{key}", b"secret", 5)
    unused: Any = None
    Announcer(store, outbox, unused, unused, aside, ways, clock).announce(order["delivery"])


def main() -> None:
    """Do as ordered until the orders end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the worker logs is no answer
    for line in sys.stdin:
        order = json.loads(line)
        services = _services(json.dumps(order["settings"]))
        child = os.fork()
        if child == 0:
            try:
                (_tell if "delivery" in order else _work)(order, services)
                os._exit(0)
            finally:
                os._exit(1)
        print(os.waitpid(child, 0)[1], file=answers, flush=True)


if __name__ == "__main__":
    main()
