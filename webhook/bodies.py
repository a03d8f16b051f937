"""Request bodies: read up to a limit, whether they say how long they are or not, and understood strictly."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from flask import Request

#: Nobody nests a request deeper; the parser's own limit is the stack's.
_DEEPEST = 64


class BadBody(Exception):
    """A body that is too long, or no JSON. `status` is what HTTP calls it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def read(request: Request, limit: int) -> bytes:
    """The body, at most `limit` bytes. Raises `BadBody`.

    A chunked body says no length, and the framework's own limit would cut it silently: so one byte more is asked for.
    """
    if request.content_length is not None and request.content_length > limit:
        raise BadBody(_too_long(limit), 413)
    body = request.stream.read(limit + 1)
    if len(body) > limit:
        raise BadBody(_too_long(limit), 413)
    return body


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises `BadBody` for anything else that bytes can be."""
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant)
    except RecursionError:
        raise BadBody("the request body is nested too deeply") from None
    except ValueError as fault:
        raise BadBody(f"the request body is not valid JSON: {_where(fault)}") from None
    if not isinstance(value, dict):
        raise BadBody(f"the request body must be a JSON object, found {_kind(value)}")
    if _depth(value) > _DEEPEST:
        raise BadBody("the request body is nested too deeply")
    return value


def _too_long(limit: int) -> str:
    return f"the request body is longer than {limit} bytes; pass large media by URL"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _where(fault: ValueError) -> str:
    if isinstance(fault, json.JSONDecodeError):
        return f"{fault.msg} at line {fault.lineno}, column {fault.colno}"
    if isinstance(fault, UnicodeDecodeError):
        return f"byte {fault.start} is not UTF-8"
    return str(fault)


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _depth(value: Any) -> int:
    """How deep `value` goes, without recursion."""
    deepest, level = 0, [value]
    while level and deepest <= _DEEPEST:
        deepest += 1
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
    return deepest
