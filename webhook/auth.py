"""Who is asking, and whether it may: an API key as Bearer token, or a token signed with it.

Kling's own clients sign: a JWT (HS256) whose `iss` is the AccessKey, with `exp` and `nbf`. Here the AccessKey is the
name of an API key and the SecretKey is the key, so such a client needs another host and key, and no more.
"""

from __future__ import annotations

import jwt
from cryptography.fernet import InvalidToken
from flask import Flask, Response, g, request

from webhook.problems import KlingProblem
from webhook.wiring import Door
from worker.jobs.access import Caller, NotAllowed, Scope
from worker.store.rates import Spent

#: Of a key or a token, in characters: what is longer is none, and is not even looked up.
_LONGEST = 4096
#: Seconds by which a client's clock may be off. Kling documents none; its clients take 5 off `nbf` themselves.
_LEEWAY = 30


def caller(here: Door, scope: Scope) -> Caller:
    """Whose key the current request carries.

    Raises `KlingProblem`: 401 with 1001 to 1004, 403 with 1103 where the key lacks `scope`, 429 with 1302.
    """
    who = _known(here)
    try:
        who.must(scope)
    except NotAllowed as fault:
        raise KlingProblem(403, 1103, str(fault)) from None
    _spend(here, who)
    return who


def install(app: Flask) -> None:
    """Say in each answer to a key that has a limit how much of it is left."""
    app.after_request(_say_rate)


def _known(here: Door) -> Caller:
    header = request.headers.get("Authorization", "")
    if not header.strip():
        raise KlingProblem(401, 1001, "Authorization is empty: send 'Authorization: Bearer <API key>'")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or not token.isascii() or token != token.strip():
        raise KlingProblem(401, 1002, "Authorization is invalid: it must read 'Bearer <API key>', with one space")
    who = None
    if len(token) <= _LONGEST:
        who = _signer(token, here) if token.count(".") == 2 else here.keys.caller(token, here.clock())
    if who is None:
        raise KlingProblem(401, 1002, "Authorization is invalid: no such API key")
    return who


def _signer(token: str, here: Door) -> Caller | None:
    """Who `iss` names, once the signature proves that its key signed; None when it does not."""
    try:
        name = str(jwt.decode(token, options={"verify_signature": False}).get("iss", ""))
        if "\0" in name:
            return None
        who, keys = here.keys.signer(name, here.clock())
        return who if any(_signed(token, key) for key in keys) else None
    except jwt.ImmatureSignatureError:
        raise KlingProblem(401, 1003, "Authorization is not valid yet: nbf lies in the future") from None
    except jwt.ExpiredSignatureError:
        raise KlingProblem(401, 1004, "Authorization has expired: sign a new token") from None
    # A payload may nest deeper than the stack, or count its seconds beyond any number: the library lets those through.
    except (jwt.InvalidTokenError, InvalidToken, UnicodeEncodeError, RecursionError, OverflowError):
        return None


def _signed(token: str, key: str) -> bool:
    try:
        jwt.decode(token, key, algorithms=["HS256"], leeway=_LEEWAY, options={"require": ["exp", "iss"]})
    except jwt.InvalidSignatureError:
        return False
    return True


def _spend(here: Door, who: Caller) -> None:
    g.spent = spent = here.rates.spend(who, here.clock())
    if spent and not spent.allowed:
        message = f"request rate too high: API key {who.name!r} may ask {spent.limit} times a minute"
        raise KlingProblem(429, 1302, message, headers={"Retry-After": str(spent.wait)})


def _say_rate(answer: Response) -> Response:
    """In the words of the IETF's draft on RateLimit header fields."""
    spent: Spent | None = g.get("spent")
    if spent:
        answer.headers["RateLimit-Policy"] = f'"key";q={spent.limit};w=60'
        answer.headers["RateLimit"] = f'"key";r={spent.left};t={spent.wait}'
    return answer
