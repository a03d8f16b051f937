"""While a request that makes something is looked at, a second one with its Idempotency-Key is told so.

Source: draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from infra.log import logger
from webhook.problems import KlingProblem
from webhook.wiring import Door

log = logger(__name__)

#: Before the keys of subscriptions, where those of jobs have nothing: no header can hold it.
SUBSCRIPTIONS = "\x1f"
#: Seconds after which a second request may ask what became of the first: most checks take less than one.
_AGAIN_SECONDS = "2"


@contextmanager
def claimed(here: Door, who: str, key: str | None, fingerprint: bytes) -> Iterator[None]:
    """Hold a request's key while it is checked and stored.

    Raises `KlingProblem` 409 while another request holds it, 422 where that one is another request. 1302 is what
    Kling's clients answer by asking again.
    """
    now = here.clock()
    if key is None:
        yield
        return
    held = here.claims.take(who, key, fingerprint, now)
    if held and held.fingerprint != fingerprint:
        raise other_request()
    if held:
        message = "a request with this Idempotency-Key is being looked at; ask again"
        raise KlingProblem(409, 1302, message, headers={"Retry-After": _AGAIN_SECONDS})
    try:
        yield
    finally:
        try:
            here.claims.release(who, key, now)
        except SQLAlchemyError as fault:  # it lapses by itself; what was done under it is done, or says why not
            log.warning("claim.kept", reason=type(fault).__name__)


def other_request() -> KlingProblem:
    """The key stands for another request."""
    return KlingProblem(422, 1201, "the Idempotency-Key was used before with another request")
