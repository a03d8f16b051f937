"""The synchronous rest of Kling's API: handed to the account and back, never a job.

Elements, voices, presets, face identification, speech, element selection, costs: they are answered at once, so there
is nothing to make durable. Authenticated here, capped in size and time, logged, with the account's own credentials.
"""

from __future__ import annotations

import json
import time

from flask import Blueprint, Response, request

from infra.http import HttpError, NotSent
from infra.log import logger
from infra.store_errors import StoreError
from webhook import bodies, headers
from webhook.auth import caller
from webhook.problems import KlingProblem
from webhook.wiring import Door, door
from worker.accept import may_read
from worker.at_once import resolve
from worker.jobs.access import Caller, NotAllowed, Scope
from worker.jobs.references import BadReference
from worker.kling import wire
from worker.kling.catalog import PASS_THROUGH, Route
from worker.provider import with_links

log = logger(__name__)

api = Blueprint("pass_through", __name__)

#: Largest answer in bytes: a list of a thousand voices is some 300 kB.
_LARGEST_ANSWER = 8 * 2**20


def route_for(method: str, path: str) -> Route | None:
    """The synchronous route that a request asks for; None when it is none of them."""
    return next((route for route in PASS_THROUGH if route.method == method and route.fits(path)), None)


@api.get("/account/costs")
@api.get("/kling/account/costs")
def costs() -> Response:
    """What the account has left; outside /v1, as at Kling."""
    here = door()
    return handle(here, caller(here, Scope.READ), "/account/costs")


def handle(here: Door, who: Caller, path: str) -> Response:
    """Hand the current request to the account that it names, and its answer back. Raises `KlingProblem`."""
    body, makers = _body(here, who)
    name = _account(here, makers)
    query = request.query_string.decode("latin-1")
    call = wire.passed(here.accounts[name], request.method, path, query, body, now=time.time())
    seconds = here.settings.kling_timeout_seconds
    try:
        answer = here.trusted.send(
            call.method, call.url, call.headers, call.body, seconds=seconds, limit=_LARGEST_ANSWER
        )
    except NotSent:
        raise KlingProblem(503, 5001, "Kling cannot be reached just now; nothing was sent, try again") from None
    except HttpError:
        raise KlingProblem(504, 5002, "Kling did not answer; whether it acted is not known") from None
    log.info("pass_through", caller=who.name, account=name, method=request.method, kling=path, status=answer.status)
    if answer.status == 401:  # it is not the caller whom Kling does not know
        raise KlingProblem(503, 5001, f"Kling refuses the credentials of account {name!r}: tell who runs this Reelhook")
    kind, wait = answer.headers.get("Content-Type", "application/json"), answer.headers.get("Retry-After")
    return Response(answer.body, answer.status, {"Retry-After": wait} if wait else None, content_type=kind)


def _account(here: Door, makers: frozenset[str]) -> str:
    """The account that a request names, or else the one that made what it names."""
    name = headers.account(request)
    if makers and "Reelhook-Account" not in request.headers:
        (name,) = makers
    if name not in here.accounts:
        known = ", ".join(here.accounts)
        raise KlingProblem(400, 1201, f"header Reelhook-Account must be one of {known}, found {name[:40]!r}")
    if makers and name not in makers:
        raise KlingProblem(400, 1201, f"account: only account {', '.join(makers)} knows the ids that the request names")
    return name


def _body(here: Door, who: Caller) -> tuple[bytes | None, frozenset[str]]:
    """What is sent on, the request's own JSON with links and ids for what lies in the bucket and what jobs have made;
    and the account that made those.
    """
    if request.method != "POST":
        return None, frozenset()
    said = bodies.parse_object(bodies.read(request, here.settings.max_body_bytes))
    try:
        may_read(who, said, here.settings.s3_bucket)
    except NotAllowed as fault:
        raise KlingProblem(403, 1103, str(fault)) from None
    inputs = here.acceptor.inputs
    try:
        plain = resolve(who.name, said, store=here.store, inputs=inputs, now=here.clock())
    except BadReference as fault:
        raise KlingProblem(400, 1201, str(fault)) from None
    except StoreError:
        raise KlingProblem(503, 5001, "the bucket cannot be reached just now; nothing was sent, try again") from None
    return json.dumps(with_links(plain.body, here.input_link)).encode(), plain.makers
