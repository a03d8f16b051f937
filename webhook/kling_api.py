"""Kling's own API, served by us: create, query one, list. A client of Kling needs another host and key, no more."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

from flask import Blueprint, Response, request
from ulid import ULID

from infra.http import is_http_url
from infra.log import logger
from webhook import bodies
from webhook.auth import caller
from webhook.problems import KlingProblem, envelope
from webhook.wiring import Door, door
from worker import messages
from worker.jobs import outbound
from worker.jobs.machine import Step
from worker.kling import catalog
from worker.kling.evaluate import Verdict, evaluate
from worker.services import DEFAULT_ACCOUNT
from worker.store.repository import NewJob

log = logger(__name__)

api = Blueprint("kling", __name__)

#: Kling documents neither length nor alphabet of external ids; these hold every id in its samples.
_LONGEST_ID = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
#: How a request may be checked: as Kling would, with what is merely tolerated refused too, or sent as it is.
_CHECKS = ("lenient", "strict", "off")

Answer = tuple[Response, int]


@api.post("/<path:family>")
def create(family: str) -> Answer:
    """Check a request, store it as a job, answer as Kling does."""
    here = door()
    who = caller(request, here.keys)
    path = _family(family)
    account = _account(here)
    raw = bodies.read(request, here.settings.max_body_bytes)
    body = bodies.parse_object(raw)
    verdict = _checked(here, path, account, body)
    new = _new_job(who, account, path, raw, body, verdict)
    job, fingerprint, is_new = here.store.accept(new, here.clock())
    if fingerprint != new.fingerprint:
        used = f"external_task_id {new.external_task_id!r} was used before with another request; it must be unique"
        raise KlingProblem(400, 1201, used)
    if is_new:
        messages.send(here.queue, [messages.for_step(Step.SUBMIT, job.id)])
        log.info("job.accepted", job=job.id, family=path, warnings=[one.rule for one in verdict.warnings])
    return envelope(outbound.created(job))


@api.get("/<path:family>")
def read(family: str) -> Answer:
    """A page of a family's tasks, or one task: the path decides, as at Kling."""
    here = door()
    who = caller(request, here.keys)
    if (path := _known(family)) is not None:
        return _page(here, who, path)
    parent, _, name = family.rstrip("/").rpartition("/")
    return _one(here, who, _family(parent, asked=family), name)


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


def _account(here: Door) -> str:
    """The account that a job asks for by name, with a header that no client of Kling sends by accident."""
    name = request.headers.get("Reelhook-Account", DEFAULT_ACCOUNT).lower()
    if name not in here.accounts:
        known = ", ".join(here.accounts)
        raise KlingProblem(400, 1201, f"header Reelhook-Account must be one of {known}, found {name[:40]!r}")
    return name


def _checked(here: Door, path: str, account: str, body: dict[str, Any]) -> Verdict:
    """The verdict on a request that may go. Raises `KlingProblem` with every fault of one that may not."""
    check = request.headers.get("Reelhook-Check", "lenient").lower()
    if check not in _CHECKS:
        raise KlingProblem(
            400, 1201, f"header Reelhook-Check must be one of {', '.join(_CHECKS)}, found {check[:40]!r}"
        )
    gateway, edition = here.accounts[account].gateway, here.settings.kling_edition
    verdict = evaluate(path, body, gateway=gateway, edition=edition, strict=check == "strict")
    if check == "off":
        return verdict
    if faults := verdict.faults or here.inputs.faults(path, verdict.request, edition=verdict.edition):
        raise KlingProblem(verdict.http_status, verdict.code, "; ".join(fault.message for fault in faults))
    return verdict


def _new_job(who: str, account: str, path: str, raw: bytes, body: dict[str, Any], verdict: Verdict) -> NewJob:
    canonical = json.dumps([account, path, body], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    cost = verdict.cost
    return NewJob(
        id=str(ULID()).lower(),
        caller=who,
        account=account,
        family=path,
        external_task_id=_external_id(body),
        callback_url=_callback_url(body),
        fingerprint=sha256(canonical.encode()).digest(),
        request=raw,
        expected_units=None if cost.units is None else str(cost.units),
        list_price=None if cost.usd is None else str(cost.usd),
    )


def _callback_url(body: dict[str, Any]) -> str | None:
    url = _text(body, "callback_url")
    if url is not None and not is_http_url(url):
        raise KlingProblem(400, 1201, "callback_url must be an absolute http:// or https:// URL, or left out")
    return url


def _external_id(body: dict[str, Any]) -> str | None:
    external = _text(body, "external_task_id")
    if external is not None and len(external) > _LONGEST_ID:
        raise KlingProblem(400, 1201, f"external_task_id must be at most {_LONGEST_ID} characters long")
    return external


def _text(body: dict[str, Any], name: str) -> str | None:
    """A string that a row can hold; None where it is absent or empty, which Kling takes for absent."""
    value = body.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or _CONTROL.search(value):
        raise KlingProblem(400, 1201, f"{name} must be a string without control characters")
    return value
