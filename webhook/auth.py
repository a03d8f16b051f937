"""Who is asking: an API key as Bearer token, answered in Kling's codes when it is not right."""

from __future__ import annotations

from flask import Request

from webhook.problems import KlingProblem
from worker.store.keys import ApiKeys


def caller(request: Request, keys: ApiKeys) -> str:
    """The name behind the request's key. Raises `KlingProblem` 1001 or 1002, both HTTP 401."""
    header = request.headers.get("Authorization", "")
    if not header.strip():
        raise KlingProblem(401, 1001, "Authorization is empty: send 'Authorization: Bearer <API key>'")
    scheme, _, key = header.partition(" ")
    if scheme.lower() != "bearer" or not key or not key.isascii() or key != key.strip():
        raise KlingProblem(401, 1002, "Authorization is invalid: it must read 'Bearer <API key>', with one space")
    name = keys.caller(key)
    if name is None:
        raise KlingProblem(401, 1002, "Authorization is invalid: no such API key")
    return name
