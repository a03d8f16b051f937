"""Kling's own routes, described: each family from its row in the catalog, its model, and its rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from werkzeug.routing import Rule

from webhook.shapes import CreatedAnswer, Failure, ProblemDetails, TaskAnswer, TasksAnswer
from worker.accept import CHECKS
from worker.jobs import references
from worker.kling.catalog import FAMILIES, PASS_THROUGH, Family, Route
from worker.kling.evaluate import RULES
from worker.kling.examples import EXAMPLES
from worker.kling.requests import MODELS

Json = dict[str, Any]

_PREFIX = "/kling/v1"
_CALLBACK_PATH = "/callbacks/kling/{job_id}/{token}"
_BLUEPRINTS = ("kling", "kling-prefixed", "pass_through")
#: Statuses of Kling's that any of its routes may answer, with what they mean here.
_WITH_KEY: Mapping[int, str] = {
    401: "no key, or none that is known (1001, 1002), not yet valid (1003), expired (1004)",
    403: "the key may not do this (1103)",
    429: "the key asks too often (1302); Retry-After says when to ask again",
    503: "the database is away (5001); nothing was stored",
}
_CREATE: Mapping[int, str] = {
    400: "what Kling would refuse, every fault at once (1201); or no JSON",
    409: "the first request with this Idempotency-Key is still being looked at",
    413: "the body is too long",
    422: "the Idempotency-Key was used before with another request",
}
_NAME = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "our task id, or your external_task_id",
    "schema": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
}


def _header(name: str, about: str, **schema: Any) -> Json:
    return {"name": name, "in": "header", "description": about, "schema": {"type": "string", **schema}}


_ACCOUNT = _header("Reelhook-Account", "the account to use, or several in order, separated by commas")
_HEADERS = (
    _ACCOUNT,
    _header("Reelhook-Check", "how the request is judged; lenient unless said", enum=list(CHECKS)),
    _header("Reelhook-Bucket", "the bucket that its files go to, one of those that the key may use"),
    _header("Reelhook-Prefix", "where in the bucket its files go, within what the key allows"),
    _header("Idempotency-Key", "makes asking again safe without an external_task_id", maxLength=255),
)


def _number(name: str, most: int, default: int) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return {"name": name, "in": "query", "schema": schema, "description": f"1 to {most}"}


_PAGE = (_number("pageNum", 1000, 1), _number("pageSize", 500, 30))


def serves(rule: Rule) -> bool:
    """Whether a route is one of Kling's, which are described here."""
    return rule.endpoint.partition(".")[0] in _BLUEPRINTS


def models() -> list[tuple[type[BaseModel], str]]:
    """The models that these routes work with."""
    asked: list[tuple[type[BaseModel], str]] = [(model, "validation") for model in MODELS.values()]
    answered = (CreatedAnswer, TaskAnswer, TasksAnswer, Failure)
    return [*asked, *((model, "serialization") for model in answered)]


def amended(schemas: Json) -> Json:
    """The requests' schemas with what may stand in any of them and is never sent on."""
    after = {
        "description": f"earlier jobs that this one waits for, by our ids or yours; {references.SCHEME}JOB/files/0 "
        "in a field that takes media stands for what such a job made",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    }
    for model in MODELS.values():
        schemas[model.__name__]["properties"][references.FIELD] = after
    return schemas


def operations() -> Iterator[tuple[str, str, Json]]:
    """Path, verb and description of each route."""
    for family in FAMILIES.values():
        yield f"{_PREFIX}/{family.path}", "post", _create(family)
        yield f"{_PREFIX}/{family.path}", "get", _list(family)
        yield f"{_PREFIX}/{family.path}/{{id}}", "get", _one(family)
    for route in PASS_THROUGH:
        path = f"/kling{route.path}" if route.path.startswith("/") else f"{_PREFIX}/{route.path}"
        yield path, route.method.lower(), _passed(route)
    yield _CALLBACK_PATH, "post", _callback()


def _create(family: Family) -> Json:
    return {
        "operationId": f"create_{_word(family.path)}",
        "summary": f"Ask for {family.path}",
        "description": _rules(family),
        "tags": [family.path.partition("/")[0]],
        "parameters": [*_HEADERS],
        "requestBody": {"required": True, "content": _asked(family)},
        "responses": {"200": _said(CreatedAnswer), **_failures({**_CREATE, **_WITH_KEY})},
    }


def _list(family: Family) -> Json:
    return {
        "operationId": f"list_{_word(family.path)}",
        "summary": f"List your {family.path} tasks",
        "description": "Newest first.",
        "tags": [family.path.partition("/")[0]],
        "parameters": [*_PAGE],
        "responses": {"200": _said(TasksAnswer), **_failures({400: "no such page (1201)", **_WITH_KEY})},
    }


def _one(family: Family) -> Json:
    return {
        "operationId": f"get_{_word(family.path)}",
        "summary": f"Look at one {family.path} task",
        "description": "`succeed` is said once every file is in the bucket and proven; links are made anew each time.",
        "tags": [family.path.partition("/")[0]],
        "parameters": [_NAME],
        "responses": {"200": _said(TaskAnswer), **_failures({404: "no such task (1203)", **_WITH_KEY})},
    }


def _passed(route: Route) -> Json:
    """A route whose answer is Kling's own, whatever that is."""
    path = route.path.lstrip("/")
    about = "Handed to the account, its answer handed back. Never a job, never repeated."
    if route.method == "POST":
        about += f" {references.SCHEME}JOB/files/0 and the like stand for what archived jobs have made."
    shown: Json = {
        "operationId": f"{'ask' if route.method == 'POST' else 'read'}_{_word(path)}",
        "summary": f"{'Ask' if route.method == 'POST' else 'Read'} {path}",
        "description": about,
        "tags": ["account"],
        "parameters": [_ACCOUNT, *([{**_NAME, "description": "Kling's id"}] if "{id}" in path else [])],
        "responses": {
            "200": {"description": "what Kling answered", "content": {"application/json": {"schema": {}}}},
            **_failures({400: "no JSON, or no such account", **_WITH_KEY, 504: "Kling did not answer (5002)"}),
            "default": {"description": "what Kling answered", "content": {"application/json": {"schema": {}}}},
        },
    }
    if route.method == "POST":
        body = {"type": "object", "description": "as Kling documents it"}
        shown["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        shown["responses"] |= _failures({413: _CREATE[413]})
    return shown


def _callback() -> Json:
    """Where Kling itself comes in, which Flask never sees."""
    meant = {
        400: "no callback of Kling's; it is kept all the same",
        401: "the signature does not hold",
        404: "no such address",
        408: "the body did not come in time",
        413: "the body is too long",
        503: "the database is away; nothing was stored",
    }
    parts = {"job_id": "our id of the job", "token": "an HMAC of it: only Kling was told this URL"}
    problems = {"application/problem+json": {"schema": {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}}}
    return {
        "operationId": "callback",
        "summary": "Kling calls back",
        "description": "204 means that it is in the database. What it says is a hint: Kling is asked what is true.",
        "tags": ["service"],
        "security": [],
        "parameters": [{**_NAME, "name": name, "description": about} for name, about in parts.items()],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {
            "204": {"description": "it is in the database"},
            **{str(status): {"description": text, "content": problems} for status, text in meant.items()},
        },
    }


def _rules(family: Family) -> str:
    """The rules that a request of this family is held to, each with its number."""
    held = sorted((rule for rule in RULES if family.path in rule.families), key=lambda rule: rule.id)
    lines = [f"* **{rule.id}** {rule.text}" for rule in held]
    models = f"Models: {', '.join(f'`{name}`' for name in family.models)}." if family.models else ""
    head = "What holds (`reelhook check --rules` has the sources):"
    return "\n\n".join(filter(None, [models, head, "\n".join(lines)]))


def _failures(meant: Mapping[int, str]) -> Json:
    return {
        str(status): {"description": f"{HTTPStatus(status).phrase}: {text}", "content": _json(Failure.__name__)}
        for status, text in sorted(meant.items())
    }


def _said(model: type[BaseModel]) -> Json:
    return {"description": (model.__doc__ or "").strip(), "content": _json(model.__name__)}


def _asked(family: Family) -> Json:
    content = _json(MODELS[family.path].__name__)
    content["application/json"]["example"] = dict(EXAMPLES[family.path])
    return content


def _json(name: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _word(path: str) -> str:
    return path.replace("/", "_").replace("-", "_").replace("{id}", "one")
