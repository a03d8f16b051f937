"""Ctrl-C, `kill` and a closed terminal as one exception, raised once: what it interrupts can then clean up in peace."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants an end. No `Exception`, so that nothing on the way takes it for a fault."""


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Inside, the first signal raises `Interrupted` in the main thread, and those after it are ignored."""

    def handle(number: int, _frame: object) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    before = {each: signal.signal(each, handle) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
