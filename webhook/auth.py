"""Who is asking: an API key as Bearer token, or a token signed with it, answered in Kling's codes when it is not right.

Kling's own clients sign: a JWT (HS256) whose `iss` is the AccessKey, with `exp` and `nbf`. Here the AccessKey is the
name of an API key and the SecretKey is the key, so such a client needs another host and key, and no more.
"""

from __future__ import annotations

import jwt
from cryptography.fernet import InvalidToken
from flask import Request

from webhook.problems import KlingProblem
from worker.store.keys import ApiKeys

_LONGEST = 4096


def caller(request: Request, keys: ApiKeys) -> str:
    """The name behind the request's key. Raises `KlingProblem` 1001 to 1004, all HTTP 401."""
    header = request.headers.get("Authorization", "")
    if not header.strip():
        raise KlingProblem(401, 1001, "Authorization is empty: send 'Authorization: Bearer <API key>'")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or not token.isascii() or token != token.strip():
        raise KlingProblem(401, 1002, "Authorization is invalid: it must read 'Bearer <API key>', with one space")
    name = _signer(token, keys) if token.count(".") == 2 and len(token) < _LONGEST else keys.caller(token)
    if name is None:
        raise KlingProblem(401, 1002, "Authorization is invalid: no such API key")
    return name


def _signer(token: str, keys: ApiKeys) -> str | None:
    """The name in `iss`, once the signature proves that its key signed; None when it does not."""
    try:
        name = str(jwt.decode(token, options={"verify_signature": False}).get("iss", ""))
        secret = None if "\0" in name else keys.secret_of(name)
        if not secret:
            return None
        jwt.decode(token, secret, algorithms=["HS256"], options={"require": ["exp", "iss"]})
    except jwt.ImmatureSignatureError:
        raise KlingProblem(401, 1003, "Authorization is not valid yet: nbf lies in the future") from None
    except jwt.ExpiredSignatureError:
        raise KlingProblem(401, 1004, "Authorization has expired: sign a new token") from None
    except (jwt.InvalidTokenError, InvalidToken, UnicodeEncodeError):
        return None
    return name
