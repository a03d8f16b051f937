"""What is derived from the app's secret: nothing of it is stored, and each use has a key of its own."""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256


def callback_token(secret: bytes, job_id: str) -> str:
    """What proves that a callback's URL came from us: HMAC-SHA256 of the job's id, 128 bits of it, in hex."""
    return _derived(secret, f"kling-callback:{job_id}").hex()[:32]


def signing_secret(secret: bytes, caller: str) -> str:
    """The Standard Webhooks secret that signs deliveries to a `callback_url`; `reelhook keys` shows it."""
    return "whsec_" + base64.b64encode(_derived(secret, f"webhook:{caller}")).decode()


def _derived(secret: bytes, use: str) -> bytes:
    return hmac.digest(secret, use.encode(errors="surrogatepass"), sha256)
