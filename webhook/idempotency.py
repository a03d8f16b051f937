"""While a create is looked at, a second one with its Idempotency-Key is told so.

Source: draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from webhook.problems import KlingProblem
from webhook.wiring import Door
from worker.accept import Asked

#: Seconds after which a second request may ask what became of the first: most checks take less than one.
_AGAIN_SECONDS = "2"


@contextmanager
def claimed(here: Door, asked: Asked) -> Iterator[None]:
    """Hold the request's key while it is checked and stored.

    Raises `KlingProblem` 409 while another request holds it, 422 where that one is another request. 1302 is what
    Kling's clients answer by asking again.
    """
    key, now = asked.idempotency_key, here.clock()
    if key is None:
        yield
        return
    held = here.claims.take(asked.caller, key, asked.fingerprint, now)
    if held and held.fingerprint != asked.fingerprint:
        raise KlingProblem(422, 1201, "the Idempotency-Key was used before with another request")
    if held:
        message = "a request with this Idempotency-Key is being looked at; ask again"
        raise KlingProblem(409, 1302, message, headers={"Retry-After": _AGAIN_SECONDS})
    try:
        yield
    finally:
        here.claims.release(asked.caller, key, now)
