"""R001: who may ask. A JWT signed with the secret key, or an API key, as a bearer token."""

import hmac

import jwt

from infra.emulator.config import Config
from infra.emulator.wire import Refusal


def check(config: Config, authorization: str | None) -> None:
    """Return for a valid `Authorization` header, raise Refusal 1001..1004 otherwise."""
    if not authorization:
        raise Refusal(1001, "Authorization is empty")
    scheme, _, token = authorization.partition(" ")
    if scheme != "Bearer" or not token or token != token.strip():
        raise Refusal(1002, "Authorization is invalid")
    if not hmac.compare_digest(token.encode(), config.api_key.encode()):
        _check_signed(config, token)


def _check_signed(config: Config, token: str) -> None:
    try:
        jwt.decode(
            token, config.secret_key, algorithms=["HS256"], issuer=config.access_key,
            options={"require": ["iss", "exp"]},
        )  # fmt: skip
    except jwt.ImmatureSignatureError:
        raise Refusal(1003, "Authorization is not yet valid") from None
    except jwt.ExpiredSignatureError:
        raise Refusal(1004, "Authorization has expired") from None
    except jwt.InvalidTokenError:
        raise Refusal(1002, "Authorization is invalid") from None
