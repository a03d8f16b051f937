"""The Authorization header: an API key as it is, or a JWT signed with the key pair.

Claims as every official sample makes them: `iss` the access key, `exp` 1800 s ahead, `nbf` 5 s behind (spec 1.1).
"""

from __future__ import annotations

from functools import lru_cache

import jwt

from worker.kling.gateways import Account, ApiKey, KeyPair

LIFETIME = 1800  #: seconds
LEEWAY = 5  #: seconds that `nbf` lies in the past, for clocks that run ahead
#: Seconds one token is used before the next is signed, so each has two thirds of its life left when it is sent last.
RENEWAL = 600


def authorization(account: Account, now: float) -> str:
    """The header's value at `now` (seconds since the epoch)."""
    match account.credential:
        case ApiKey(key):
            return f"Bearer {key}"
        case KeyPair() as pair:
            return f"Bearer {_signed(pair, int(now) // RENEWAL * RENEWAL)}"


@lru_cache(maxsize=64)
def _signed(pair: KeyPair, issued: int) -> str:
    claims = {"iss": pair.access_key, "exp": issued + LIFETIME, "nbf": issued - LEEWAY}
    return jwt.encode(claims, pair.secret_key, algorithm="HS256", headers={"typ": "JWT"})
