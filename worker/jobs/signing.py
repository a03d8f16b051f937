"""Signatures of Standard Webhooks: `v1` with a shared secret, `v1a` with a key pair whose public half is given out.

Source: the Standard Webhooks specification 1.0.0, "Signature scheme". Signed is `ID.TIMESTAMP.BODY`.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks.webhooks import Webhook

_SHARED, _PRIVATE, _PUBLIC = "whsec_", "whsk_", "whpk_"
#: Bytes of a shared secret; the specification allows 24 to 64.
_LENGTH = 32


class Signing(StrEnum):
    """How deliveries to a receiver are signed."""

    V1 = "v1"  #: HMAC-SHA256 with a secret that both sides hold
    V1A = "v1a"  #: ed25519: the receiver holds only a public key


def new_secret(signing: Signing) -> str:
    """A fresh secret to sign with: `whsec_...` is shared with the receiver, `whsk_...` stays with us."""
    if signing is Signing.V1:
        return _SHARED + base64.b64encode(secrets.token_bytes(_LENGTH)).decode()
    return _PRIVATE + base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()


def public_key(secret: str) -> str | None:
    """What verifies the signatures of a `whsk_` secret, as `whpk_...`; None for a shared one."""
    if not secret.startswith(_PRIVATE):
        return None
    return _PUBLIC + base64.b64encode(_private(secret).public_key().public_bytes_raw()).decode()


def headers(keys: Iterable[str], message_id: str, now: datetime, body: str) -> dict[str, str]:
    """The three headers of one attempt, with a signature of each of `keys`: two while one replaces another."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(_signature(key, message_id, now, body) for key in keys),
    }


def _signature(secret: str, message_id: str, now: datetime, body: str) -> str:
    if not secret.startswith(_PRIVATE):
        return Webhook(secret).sign(message_id, now, body)
    signed = _private(secret).sign(f"{message_id}.{int(now.timestamp())}.{body}".encode())
    return "v1a," + base64.b64encode(signed).decode()


def _private(secret: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret.removeprefix(_PRIVATE)))
