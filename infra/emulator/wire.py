"""A request and a reply as plain values, Kling's envelope, and its error codes."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

#: HTTP status of each Kling code (docs "error codes").
HTTP_STATUS = {
    1000: 401, 1001: 401, 1002: 401, 1003: 401, 1004: 401,
    1100: 429, 1101: 429, 1102: 429, 1103: 403,
    1200: 400, 1201: 400, 1202: 404, 1203: 404,
    1300: 400, 1301: 400, 1302: 429, 1303: 429, 1304: 429,
    5000: 500, 5001: 503, 5002: 504,
}  # fmt: skip


class Refusal(Exception):
    """Kling says no. `code` is its own number, which settles the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Request:
    """What a client sent; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class FilePart:
    """`length` bytes of a file, from `start`."""

    path: Path
    start: int
    length: int


@dataclass(frozen=True)
class Reply:
    """What a client gets; the last three fields are how a fault spoils the transmission."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | FilePart = b""
    #: For the log only.
    task_id: str = ""
    #: Close the connection without a byte.
    dropped: bool = False
    #: Send only so many bytes of the body, then close.
    cut: int | None = None
    #: Bytes per second.
    pace: float | None = None

    @property
    def length(self) -> int:
        """Bytes of the whole body."""
        return self.body.length if isinstance(self.body, FilePart) else len(self.body)


def json_reply(status: int, document: Any, task_id: str = "") -> Reply:
    """Any JSON document as a reply."""
    body = json.dumps(document, ensure_ascii=False).encode()
    return Reply(status, (("Content-Type", "application/json; charset=utf-8"),), body, task_id)


def succeed(data: Any, task_id: str = "") -> Reply:
    """Kling's envelope of a success."""
    document = {"code": 0, "message": "SUCCEED", "request_id": str(uuid.uuid4()), "data": data}
    return json_reply(HTTPStatus.OK, document, task_id)


def refuse(code: int, message: str) -> Reply:
    """Kling's envelope of an error: it has no `data`."""
    return json_reply(HTTP_STATUS[code], {"code": code, "message": message, "request_id": str(uuid.uuid4())})


def page(status: int, text: str) -> Reply:
    """An HTML page, as a proxy in between would show."""
    body = f"<!doctype html><title>{text}</title><h1>{text}</h1>\n".encode()
    return Reply(status, (("Content-Type", "text/html; charset=utf-8"),), body)
