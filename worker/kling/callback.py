"""What Kling calls back with: a task, flat or in an envelope, and an optional signature. Source: spec section 6."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from worker.kling.answers import Claim, claim_of
from worker.kling.errors import BadSignature, MalformedBody, MalformedCallback
from worker.kling.strictjson import loads

#: Seconds that a signature's time may be off.
TOLERANCE = 300


def read_callback(body: bytes) -> Claim:
    """What `body` claims: a hint, never the truth. Raises `MalformedCallback`, and nothing else, for all bytes."""
    try:
        payload = loads(body)
    except MalformedBody as problem:
        raise MalformedCallback(str(problem)) from None
    if not isinstance(payload, Mapping):
        raise MalformedCallback("the body is not a JSON object")
    data = payload.get("data")
    claim = claim_of(payload) or (claim_of(data) if isinstance(data, Mapping) else None)
    if claim is None:
        raise MalformedCallback("the body names no task and status")
    return claim


def verify_signature(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> None:
    """Check Kling's Standard-Webhooks signature against any of `secrets` (`whsec_...`). Raises `BadSignature`.

    Several secrets are valid while one replaces another. The standardwebhooks library is not used: it reads the clock
    itself, refuses bytes that are not UTF-8 with errors of its own, and breaks on a header without a comma.
    """
    headers = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        raise BadSignature("webhook-id or webhook-timestamp is missing or malformed")
    if abs(now - int(timestamp)) > TOLERANCE:
        raise BadSignature(f"webhook-timestamp is more than {TOLERANCE} s off")
    signed = f"{message_id}.{timestamp}.".encode(errors="replace") + body
    expected = [base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)) for secret in secrets]
    given = [
        item[3:].encode(errors="replace") for item in headers.get("webhook-signature", "").split() if item[:3] == "v1,"
    ]
    # No early end: how long this takes does not depend on which one matches.
    if not sum(hmac.compare_digest(one, other) for one in expected for other in given):
        raise BadSignature("no signature matches")


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature("a configured webhook secret is not whsec_ and base64") from None
