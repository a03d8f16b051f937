"""Sends callbacks: a process of its own, bytes made before the clock starts, one request at a time on a connection.

Reads an order as JSON, prints what came of it as JSON.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: What Kling calls back with of one task, in this order; and how many other tasks it begins between two of them.
STATUSES = ("submitted", "processing", "succeed")
_BETWEEN = 100
#: As Kling's own: about 600 bytes.
_BODY = (
    '{"task_id":"%s","task_status":"%s","task_status_msg":"","task_info":{"external_task_id":"%s"},'
    '"task_result":{"videos":[{"id":"%s","url":"https://v2-kling.example/x-output-'
    + "0123456789abcdef" * 12
    + '.mp4?x-kcdn-pid=112452","duration":"5.041"}]},"created_at":1758093816979,"updated_at":%d}'
)


@dataclass(frozen=True)
class Order:
    """`count` callbacks, each another one, for the jobs whose addresses are the lines of `paths`, from `first` on. Of
    each job there are as many as there are `STATUSES`, one of each.
    """

    port: int
    paths: str
    first: int
    count: int
    connections: int
    keep_alive: bool  #: else every request has a connection of its own


def play(order: Order) -> dict[str, object]:
    """Send them all; how it went. What a cut connection may have carried is sent again."""
    requests, latencies = iter(_requests(order)), []
    answers: Counter[str] = Counter()
    clock, selector = time.perf_counter, selectors.DefaultSelector()
    open_now, began = 0, clock()
    for _ in range(order.connections):
        open_now += _send(selector, requests, None, order.port)
    while open_now:
        for key, _ in selector.select():
            sock: socket.socket = key.fileobj  # type: ignore[assignment]  # it is what was registered
            selector.unregister(sock)
            said = sock.recv(65536)
            since, sent = key.data
            answers[said[9:12].decode() or "cut"] += 1
            if not said:
                sock.close()
                selector.register(_connected(order.port, sent), selectors.EVENT_READ, (since, sent))
                continue
            latencies.append(clock() - since)
            if not order.keep_alive or b"onnection: close" in said:
                sock.close()
                open_now += _send(selector, requests, None, order.port) - 1
            else:
                open_now += _send(selector, requests, sock, order.port) - 1
    seconds = clock() - began
    latencies.sort()
    middle, late = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    return {"per_second": len(latencies) / seconds, "p50": middle, "p99": late, "answers": answers}


def _send(selector: selectors.BaseSelector, requests: Iterator[bytes], sock: socket.socket | None, port: int) -> int:
    """Send the next one, if there is one; 1 if its answer is awaited."""
    request = next(requests, None)
    if request is None:
        if sock:
            sock.close()
        return 0
    since = time.perf_counter()
    if sock is None:
        sock = _connected(port, request)
    else:
        sock.sendall(request)
    selector.register(sock, selectors.EVENT_READ, (since, request))
    return 1


def _connected(port: int, request: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(request)
    return sock


def jobs_for(callbacks: int) -> int:
    """How many jobs there have to be for so many callbacks."""
    return callbacks // len(STATUSES) + 1 + _BETWEEN * len(STATUSES)


def ends(first: int, count: int) -> int:
    """How many of these callbacks say that their task ended."""
    return sum(_kind(number) == len(STATUSES) - 1 for number in range(first, first + count))


def _kind(number: int) -> int:
    return number % len(STATUSES)


def _requests(order: Order) -> list[bytes]:
    paths = Path(order.paths).read_text().split()
    connection = "keep-alive" if order.keep_alive else "close"
    return [_request(paths, number, connection) for number in range(order.first, order.first + order.count)]


def _request(paths: list[str], number: int, connection: str) -> bytes:
    kind = _kind(number)
    path = paths[number // len(STATUSES) + _BETWEEN * (len(STATUSES) - 1 - kind)]
    job = path.split("/")[3]
    body = _BODY % (f"7{number:017}", STATUSES[kind], job, f"8{number:017}", 1758094147654 + number)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: reelhook.example\r\nContent-Type: application/json\r\n"
        f"User-Agent: kling\r\nConnection: {connection}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


if __name__ == "__main__":
    print(json.dumps(play(Order(**json.load(sys.stdin)))))
