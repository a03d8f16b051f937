"""Kling calls back: prove that the URL is ours, store the body once, answer, and let the work begin.

One write to the database lies between the request and its answer; the broker is no part of it. What the body says is
kept and never believed: `follow_up` asks Kling.
"""

from __future__ import annotations

import hmac

from flask import Blueprint, request

from infra.log import logger
from webhook import bodies
from webhook.problems import Problem
from webhook.wiring import Door, door
from worker import messages
from worker.jobs.machine import Step
from worker.jobs.tokens import callback_token
from worker.kling.callback import read_callback, verify_signature
from worker.kling.errors import BadSignature, MalformedCallback

log = logger(__name__)

receiver = Blueprint("callbacks", __name__)


@receiver.post("/kling/<job_id>/<token>")
def receive(job_id: str, token: str) -> tuple[str, int]:
    """Take one callback. 2xx means that it is in the database."""
    here = door()
    if not hmac.compare_digest(token.encode(), callback_token(here.secret, job_id).encode()):
        raise Problem(404, "no such callback address")
    body = bodies.read(request, here.settings.max_callback_bytes)
    if (forged := _forged(here, body)) is not None:
        here.inbox.put(job_id, body, verdict=f"refused: {forged}", status=None, now=here.clock())
        raise Problem(401, "the callback's signature does not hold", forged)
    try:
        status, verdict = read_callback(body).status_word, "understood"
    except MalformedCallback as fault:
        status, verdict = None, f"malformed: {fault}"
    is_new = here.inbox.put(job_id, body, verdict=verdict, status=status, now=here.clock())
    if is_new is None:
        raise Problem(404, "no such callback address")
    log.info("callback.stored", job=job_id, status=status, new=is_new, verdict=verdict)
    if status is None:
        raise Problem(400, "the body is no callback of Kling", verdict)
    if is_new:
        messages.send(here.queue, [messages.for_step(Step.FOLLOW_UP, job_id)])
    return "", 204


def _forged(here: Door, body: bytes) -> str | None:
    """Why Kling's own signature does not hold; None where it does, or where there is nothing to hold it against.

    Not every account signs, and whether older shapes are signed is not documented: a callback without a signature
    has the token in its URL as proof, as all have.
    """
    secrets = [secret.get_secret_value() for secret in here.settings.kling_webhook_secrets]
    if not secrets or "webhook-signature" not in request.headers:
        return None
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        verify_signature(headers, body, secrets, here.clock().timestamp())
    except BadSignature as fault:
        return str(fault)
    return None
