"""The document: every route with what it is sent and what it answers, and what receivers are sent, in OpenAPI 3.1."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from webhook import VERSION
from webhook.documented import Operation, operation_of
from webhook.openapi import kling, told
from webhook.shapes import Failure, ProblemDetails

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{model}"
_ABOUT = """\
Kling's own API, made durable: ask as you would ask Kling, with another host and key. The links in a result point \
into your own bucket and to files that were proven; `succeed` is said no earlier.

Routes under `/kling/v1` (`/v1` is the same) speak Kling's envelope and codes. Routes under `/api` are ours, and \
their errors are problem+json (RFC 9457). Each of either may answer 503 with `Retry-After` while the database is away.
"""
_TAGS = {
    "videos": "Kling's families that make films.",
    "images": "Kling's families that make pictures.",
    "audio": "Kling's families that make sounds.",
    "account": "The synchronous rest of Kling's API, handed to the account and back.",
    "jobs": "What Kling's API can't say of a job.",
    "subscriptions": "Standing orders to be told, signed as Standard Webhooks.",
    "deliveries": "What receivers were told, attempt by attempt.",
    told.TAG: told.ABOUT,
    "service": "The process itself.",
}
#: Statuses that a route with a key may answer whatever it does.
_WITH_KEY = (401, 403, 429)
_ALWAYS = (503,)


def document(app: Flask) -> Json:
    """The description of `app`. Raises `LookupError` where a route says nothing of itself."""
    routes = [(rule, _described(app, rule)) for rule in app.url_map.iter_rules() if not kling.serves(rule)]
    ours = [(rule, operation) for rule, operation in routes if operation.tag]
    paths: dict[str, Json] = {}
    for path, verb, shown in kling.operations():
        paths.setdefault(path, {})[verb] = shown
    for rule, operation in ours:
        for verb in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(_path(rule), {})[verb.lower()] = _operation(app, rule, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Reelhook",
            "version": VERSION,
            "summary": "Kling video generation that loses nothing and pays for nothing twice",
            "description": _ABOUT,
            "license": {"name": "see the repository"},
        },
        "servers": [{"url": "/", "description": "this Reelhook"}],
        "security": [{"key": []}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "webhooks": told.webhooks(),
        "components": {
            "schemas": _schemas(operation for _, operation in ours),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key; or, as Kling's own clients sign, a JWT (HS256) whose iss is the key's "
                    "name, signed with the key, with exp and nbf.",
                }
            },
        },
    }


def _described(app: Flask, rule: Rule) -> Operation:
    found = operation_of(app.view_functions[rule.endpoint])
    if found is None:
        raise LookupError(f"the route {rule.rule} says nothing of itself: give its view @documented(...)")
    return found


def _schemas(operations: Iterable[Operation]) -> Json:
    always: tuple[type[BaseModel], ...] = (Failure, ProblemDetails, *told.MODELS)
    used: dict[tuple[type[BaseModel], Any], None] = {(model, "serialization"): None for model in always}
    used |= dict.fromkeys(kling.models())
    for one in operations:
        used |= {(one.answer, "serialization"): None} if one.answer else {}
        used |= {(one.body, "validation"): None} if one.body else {}
    _, made = models_json_schema(list(used), ref_template=_REFERENCE)
    return kling.amended(dict(made["$defs"]))


def _operation(app: Flask, rule: Rule, one: Operation) -> Json:
    view = app.view_functions[rule.endpoint]
    statuses = {
        *one.problems,
        *(() if one.free else _ALWAYS),
        *(() if one.open else _WITH_KEY),
        *((400, 413) if one.body else ()),
    }
    statuses |= {400} if one.query else set()
    parameters = [*_in_path(rule, one), *_in(one.query, "query"), *_in(one.headers, "header")]
    shown: Json = {
        "operationId": rule.endpoint.replace(".", "_"),
        "summary": one.summary,
        "description": inspect.getdoc(view) or one.summary,
        "tags": [one.tag],
        **({"parameters": parameters} if parameters else {}),
        "responses": {
            str(one.status): _answer(one),
            **{
                str(status): _answer(replace(one, status=status, answer=also))
                for status, also in (one.also or {}).items()
            },
            **{str(status): problem(status) for status in sorted(statuses)},
        },
    }
    if one.body:
        needed = any(field.is_required() for field in one.body.model_fields.values())
        content = {"application/json": {"schema": _named(one.body)}}
        shown["requestBody"] = {"required": needed, "content": content}
    if one.open:
        shown["security"] = []
    return shown


def problem(status: int) -> Json:
    """An error of our own routes."""
    content = {"application/problem+json": {"schema": _named(ProblemDetails)}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _answer(one: Operation) -> Json:
    if one.status == HTTPStatus.NO_CONTENT:
        return {"description": "done; there is no body"}
    about = (inspect.getdoc(one.answer) or "").partition("\n")[0] if one.answer else one.summary
    return {"description": about, "content": {one.media: {"schema": _named(one.answer) if one.answer else {}}}}


def _named(model: type[BaseModel]) -> Json:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _in_path(rule: Rule, one: Operation) -> list[Json]:
    about: Mapping[str, str] = one.path or {}
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": about.get(name, "its id"),
            "schema": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
        }
        for name in sorted(rule.arguments)
    ]


def _in(model: type[BaseModel] | None, where: str) -> list[Json]:
    """The fields of a model as parameters."""
    if model is None:
        return []
    schema = model.model_json_schema(ref_template=_REFERENCE)
    return [
        {
            "name": name,
            "in": where,
            "required": name in schema.get("required", ()),
            "description": field.get("description", name),
            "schema": {key: value for key, value in field.items() if key not in {"title", "description"}},
        }
        for name, field in schema["properties"].items()
    ]
