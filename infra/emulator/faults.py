"""Faults that a test queues with `POST /_emulator/faults`; each is consumed by one request, in order.

A fault is a function around the ordinary way of answering: it decides whether that happens, and what is sent.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from infra.emulator.wire import FilePart, Refusal, Reply, page, refuse

Answer = Callable[[], Reply]
Sleep = Callable[[float], object]
Fault = Callable[[Answer, float, Sleep], Reply]

DROPPED = Reply(0, dropped=True)


def _instead(reply: Callable[[], Reply]) -> Fault:
    return lambda _answer, _value, _sleep: reply()


def _after(reply: Callable[[], Reply]) -> Fault:
    def fault(answer: Answer, _value: float, _sleep: Sleep) -> Reply:
        done = answer()
        return replace(reply(), task_id=done.task_id)

    return fault


def _delay(answer: Answer, seconds: float, sleep: Sleep) -> Reply:
    sleep(seconds)
    return answer()


def _truncate(answer: Answer, _value: float, _sleep: Sleep) -> Reply:
    """Content-Length says all, half is sent."""
    reply = answer()
    return replace(reply, cut=reply.length // 2)


def _wrong_length(answer: Answer, _value: float, _sleep: Sleep) -> Reply:
    """Half of the file, with a Content-Length that agrees: only the media itself can tell."""
    reply = answer()
    if not isinstance(reply.body, FilePart):
        return reply
    return replace(reply, body=replace(reply.body, length=reply.body.length // 2))


def _slow(answer: Answer, bytes_per_second: float, _sleep: Sleep) -> Reply:
    return replace(answer(), pace=bytes_per_second)


_ERROR_500 = _instead(lambda: refuse(5000, "Server internal error"))
_ERROR_503 = _instead(lambda: refuse(5001, "Server temporarily unavailable"))
_HTML_200 = _instead(lambda: page(200, "Welcome"))
_DROP = _instead(lambda: DROPPED)

#: What is asked for -> name -> fault.
FAULTS: dict[str, dict[str, Fault]] = {
    "create": {
        "drop_before": _DROP,
        "drop_after": _after(lambda: DROPPED),
        "error_500": _ERROR_500,
        "error_503": _ERROR_503,
        "error_500_after": _after(lambda: refuse(5000, "Server internal error")),
        "error_504_after": _after(lambda: refuse(5002, "Server internal timeout")),
        "html_200": _HTML_200,
        "html_200_after": _after(lambda: page(200, "Welcome")),
        "status_429_1302": _instead(lambda: refuse(1302, "request rate over limit")),
        "status_429_1303": _instead(lambda: refuse(1303, "parallel task over resource pack limit")),
        "status_429_1101": _instead(lambda: refuse(1101, "Account is in arrears")),
        "status_429_1102": _instead(lambda: refuse(1102, "Account balance not enough")),
        "delay": _delay,
    },
    "query": {
        "drop": _DROP,
        "error_500": _ERROR_500,
        "error_503": _ERROR_503,
        "html_200": _HTML_200,
        "not_found": _instead(lambda: refuse(1203, "task not found")),
        "delay": _delay,
    },
    "service": {
        "drop": _DROP,
        "error_500": _ERROR_500,
        "html_200": _HTML_200,
        "delay": _delay,
    },
    "cdn": {
        "drop": _DROP,
        "truncate": _truncate,
        "http_403": _instead(lambda: page(403, "Forbidden")),
        "http_404": _instead(lambda: page(404, "Not Found")),
        "html_200": _HTML_200,
        "wrong_length": _wrong_length,
        "slow": _slow,
        "delay": _delay,
    },
}


class Faults:
    """The queued faults of one emulator."""

    def __init__(self, sleep: Sleep) -> None:
        self._sleep = sleep
        self._lock = threading.Lock()
        self._queues: dict[str, deque[tuple[Fault, float]]] = {on: deque() for on in FAULTS}

    def queue(self, orders: Any) -> int:
        """Queue `[{"on", "fault": "NAME" or "NAME=VALUE", "times"}]`, all or none; how many faults that makes."""
        read = [order for entry in _listed(orders) for order in _read(entry)]
        with self._lock:
            for on, fault, value in read:
                self._queues[on].append((fault, value))
        return len(read)

    def clear(self) -> None:
        """Forget all that is queued."""
        with self._lock:
            for queue in self._queues.values():
                queue.clear()

    def through(self, on: str, answer: Answer) -> Reply:
        """`answer()`, spoiled by the next fault queued for `on` if there is one."""
        with self._lock:
            queue = self._queues[on]
            fault, value = queue.popleft() if queue else (None, 0.0)
        return fault(answer, value, self._sleep) if fault else answer()


def _listed(orders: Any) -> list[Any]:
    if not isinstance(orders, list):
        raise Refusal(1200, "expected a JSON list of faults")
    return orders


def _read(order: Any) -> list[tuple[str, Fault, float]]:
    if not isinstance(order, Mapping):
        raise Refusal(1200, "a fault is a JSON object")
    on = str(order.get("on"))
    name, _, value = str(order.get("fault")).partition("=")
    try:
        return [(on, FAULTS[on][name], float(value or 1))] * int(order.get("times", 1))
    except (KeyError, ValueError, TypeError):
        known = {key: list(table) for key, table in FAULTS.items()}
        raise Refusal(1200, f"unknown fault {name!r} on {on!r}, known are: {known}") from None
