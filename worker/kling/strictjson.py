"""Strict JSON for what strangers send: no NaN, no infinity, no depth bombs, integers of any size kept exactly."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from worker.kling.errors import MalformedBody

#: A Kling body is six levels deep; a hundred leaves room for what nobody has thought of yet.
MAX_DEPTH = 100


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


#: Made once: `json.loads` would make one for each body.
_DECODER = json.JSONDecoder(parse_constant=_constant, parse_float=_number)


def _too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: object) -> list[object]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in children if isinstance(child, dict | list)]


def loads(data: bytes) -> Any:
    """The one JSON value in UTF-8 `data`. Raises MalformedBody, and nothing else, for all bytes."""
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except RecursionError:
        raise MalformedBody("the body is nested too deeply") from None
    except ValueError as error:
        # UnicodeDecodeError and JSONDecodeError quote the input; only the kind and the place are repeated.
        raise MalformedBody(f"the body is not JSON: {_reason(error)}") from None
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _too_deep(value):
        raise MalformedBody("the body is nested too deeply")
    return value


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return "a number is out of range"


def dumps(value: object) -> bytes:
    """Compact ASCII JSON: lone surrogates survive as escapes, integers keep their digits."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
