"""Clients that take little or nothing of what they are told, on the server that production runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
import uvicorn

from infra.stack.process import wait_until
from webhook import patience
from webhook.asgi import Receive, Scope, Send

_BUFFER = 16 * 1024


async def _answer(scope: Scope, _receive: Receive, send: Send) -> None:
    """As many bytes as the path says."""
    length = int(scope["path"].strip("/"))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
    await send({"type": "http.response.body", "body": bytes(length)})


@contextmanager
def _serving(listening: socket.socket) -> Iterator[uvicorn.Server]:
    """A server whose connections are idle for a second at most."""
    config = uvicorn.Config(
        _answer, http=patience.PatientProtocol, ws="none", lifespan="off", loop="uvloop", log_config=None,
        access_log=False, timeout_keep_alive=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        assert wait_until(lambda: server.started, 100)
        yield server
    finally:
        server.should_exit = server.force_exit = True
        thread.join(30)


@contextmanager
def _connected(listening: socket.socket, said: bytes) -> Iterator[socket.socket]:
    """A client of small patience: the line to it holds some 20 kB."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(listening.getsockname())
        sock.sendall(said)
        yield sock


@pytest.mark.parametrize("length", [40_000, 200_000])
@pytest.mark.parametrize("more", ["", "Connection: close\r\n"])
@pytest.mark.parametrize("half", [False, True])
def test_no_rest_of_an_answer_waits_for_ever(
    monkeypatch: pytest.MonkeyPatch, length: int, more: str, *, half: bool
) -> None:
    """P7: who takes nothing loses the connection, however little of his answer is left, and however it ends."""
    monkeypatch.setattr(patience, "TAKE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        request = f"GET /{length} HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode()
        with _serving(listening) as server, _connected(listening, request) as sock:
            assert wait_until(lambda: server.server_state.total_requests == 1, 100)
            if half:
                sock.shutdown(socket.SHUT_WR)
            assert wait_until(lambda: not server.server_state.connections, 100)


def test_who_takes_what_he_is_told_gets_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow reader is none that takes nothing."""
    monkeypatch.setattr(patience, "TAKE_SECONDS", 100.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        request = b"GET /200000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        with _serving(listening) as server, _connected(listening, request) as sock:
            assert wait_until(lambda: bool(server.server_state.connections), 100)
            said = b""
            while chunk := sock.recv(1000):
                said += chunk

    assert said.endswith(bytes(200_000))
