"""Standard Webhooks as its specification says it, written by hand: nothing of the signer's code is in it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_TOLERANCE = 300


def verified(headers: Mapping[str, str], body: bytes, key: str, now: float | None = None) -> bool:
    """Whether one of the signatures is right and the attempt is young. `key`: `whsec_...` or `whpk_...`."""
    stamp = headers["webhook-timestamp"]
    if abs((time.time() if now is None else now) - int(stamp)) > _TOLERANCE:
        return False
    signed = b".".join((headers["webhook-id"].encode(), stamp.encode(), body))
    kind, _, encoded = key.partition("_")
    raw = base64.b64decode(encoded)
    pairs = [one.partition(",")[::2] for one in headers["webhook-signature"].split(" ")]
    check = {"whsec": ("v1", _by_secret), "whpk": ("v1a", _by_public_key)}[kind]
    return any(check[1](raw, signed, base64.b64decode(value)) for version, value in pairs if version == check[0])


def _by_secret(key: bytes, signed: bytes, signature: bytes) -> bool:
    return hmac.compare_digest(hmac.new(key, signed, hashlib.sha256).digest(), signature)


def _by_public_key(key: bytes, signed: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except InvalidSignature:
        return False
    return True
