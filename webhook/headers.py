"""What a caller may say beside Kling's own request, in headers that no client of Kling sends by accident."""

from __future__ import annotations

import re

from flask import Request

from webhook.problems import KlingProblem
from worker.accept import DEFAULT_ACCOUNT

#: Of an Idempotency-Key, in characters.
_LONGEST_KEY = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def account(request: Request) -> str:
    """`Reelhook-Account`: the account that a request is for, or several in order, separated by commas."""
    return request.headers.get("Reelhook-Account", DEFAULT_ACCOUNT).lower()


def check(request: Request) -> str:
    """`Reelhook-Check`: how strictly a request is judged."""
    return request.headers.get("Reelhook-Check", "lenient").lower()


def bucket(request: Request) -> str | None:
    """`Reelhook-Bucket`: the bucket that the files shall go to; None where it is not said."""
    return request.headers.get("Reelhook-Bucket")


def prefix(request: Request) -> str | None:
    """`Reelhook-Prefix`: where in the bucket the files shall go; None where it is not said."""
    return request.headers.get("Reelhook-Prefix")


def idempotency_key(request: Request) -> str | None:
    """`Idempotency-Key`, as the IETF's draft has it: a string, which may stand in double quotes."""
    key = request.headers.get("Idempotency-Key", "").strip().removeprefix('"').removesuffix('"')
    if len(key) > _LONGEST_KEY or _CONTROL.search(key):
        raise KlingProblem(400, 1201, f"header Idempotency-Key must be at most {_LONGEST_KEY} plain characters")
    return key or None
