"""Kling's own API, served by us: create, query one, list. A client of Kling needs another host and key, no more."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request

from webhook import bodies, headers, idempotency, pass_through
from webhook.auth import caller
from webhook.problems import KlingProblem, envelope
from webhook.wiring import Door, door
from worker import messages
from worker.accept import Asked
from worker.jobs import outbound
from worker.jobs.access import Scope
from worker.kling import catalog

api = Blueprint("kling", __name__)

#: What no id of a row can hold.
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

Answer = tuple[Response, int] | Response


@api.post("/<path:family>")
def create(family: str) -> Answer:
    """Check a request, store it as a job, answer as Kling does."""
    here = door()
    who = caller(here, Scope.SUBMIT)
    if pass_through.route_for("POST", family):
        return pass_through.handle(here, who, family)
    path = _family(family)
    raw = bodies.read(request, here.settings.max_body_bytes)
    asked = Asked(
        who,
        path,
        bodies.parse_object(raw),
        raw,
        account=headers.account(request),
        idempotency_key=headers.idempotency_key(request),
        check=headers.check(request),
        bucket=headers.bucket(request),
        prefix=headers.prefix(request),
    )
    with idempotency.claimed(here, who.name, asked.idempotency_key, asked.fingerprint):
        job, wanted = here.acceptor.accept(asked)
    messages.send(here.queue, wanted)
    return envelope(outbound.created(job))


@api.get("/<path:family>")
def read(family: str) -> Answer:
    """A page of a family's tasks, or one task: the path decides, as at Kling."""
    here = door()
    who = caller(here, Scope.READ)
    if pass_through.route_for("GET", family):
        return pass_through.handle(here, who, family)
    if (path := _known(family)) is not None:
        return _page(here, who.name, path)
    parent, _, name = family.rstrip("/").rpartition("/")
    return _one(here, who.name, _family(parent, asked=family), name)


def _one(here: Door, who: str, path: str, name: str) -> Answer:
    job = None if _CONTROL.search(name) else here.store.find(who, name, path)
    if job is None:
        raise KlingProblem(404, 1203, f"no such task: {name[:80]}")
    return envelope(outbound.task(job, here.store.files([job.id])[job.id], here.link))


def _page(here: Door, who: str, path: str) -> Answer:
    number = _query_number("pageNum", default=1, most=1000)
    size = _query_number("pageSize", default=30, most=500)
    jobs = here.store.page(who, path, limit=size, offset=(number - 1) * size)
    files = here.store.files([job.id for job in jobs])
    return envelope([outbound.task(job, files[job.id], here.link) for job in jobs])


def _known(path: str) -> str | None:
    """The family at this path, with or without a slash at its end."""
    path = path.rstrip("/")
    return path if path in catalog.FAMILIES else None


def _family(path: str, *, asked: str | None = None) -> str:
    known = _known(path)
    if known is None:
        raise KlingProblem(404, 1203, f"no such resource: /v1/{(asked or path)[:120]}")
    return known


def _query_number(name: str, *, default: int, most: int) -> int:
    text = request.args.get(name, str(default))
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= number <= most:
        raise KlingProblem(400, 1201, f"{name} must be a whole number from 1 to {most}, found {text[:40]!r}")
    return number
