"""What calls back: addresses, requests, and what is left of them."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import requests
from sqlalchemy import Engine, func, select

from tests.fakes import MORNING
from worker.jobs.tokens import callback_token
from worker.store.repository import NewJob, Repository
from worker.store.tables import callbacks

SECRET = "s" * 40
BODY = json.dumps({"task_id": "1", "task_status": "succeed"}).encode()


def made(engine: Engine, name: str = "a") -> str:
    """The callback address of a new job."""
    words = {"caller": "default", "account": "default", "family": "videos/omni-video"}
    job = NewJob(id=name, fingerprint=b"f", request=b"{}", external_task_id=None, callback_url=None, **words)  # type: ignore[arg-type]  # test data
    Repository(engine).accept(job, MORNING)
    return f"/callbacks/kling/{name}/{callback_token(SECRET.encode(), name)}"


def call(url: str, path: str, body: bytes = BODY) -> requests.Response:
    """Call back as Kling does."""
    return requests.post(url + path, data=body, timeout=30)


def kept(engine: Engine) -> int:
    """Callbacks in the inbox."""
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(callbacks)).scalar_one()


def connected(url: str, said: bytes) -> socket.socket:
    """A connection on which so much was said."""
    sock = socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=30)
    sock.sendall(said)
    return sock


def head(path: str, *more: str, length: int = len(BODY)) -> bytes:
    """The head of a POST."""
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: h", f"Content-Length: {length}", *more, "", ""]).encode()


def last(sock: socket.socket) -> bytes:
    """All that comes until the other side ends the connection."""
    said = b""
    try:
        while chunk := sock.recv(65536):
            said += chunk
    except ConnectionResetError:
        pass
    return said
