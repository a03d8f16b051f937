"""The document, laid out for a page: its operations by tag, their fields as rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
_DEEPEST = 4


@dataclass(frozen=True)
class Row:
    """One field of a body or an answer."""

    name: str  #: with those that it lies in, such as image_list[].image_url
    type: str
    needed: bool
    about: str


@dataclass(frozen=True)
class Shown:
    """One operation."""

    id: str
    verb: str
    path: str
    operation: Json
    body: list[Row] = field(default_factory=list)
    answer: list[Row] = field(default_factory=list)
    example: str = ""  #: of a body, as JSON


@dataclass(frozen=True)
class Group:
    """The operations of one tag."""

    name: str
    about: str
    operations: list[Shown]


def groups(document: Json) -> list[Group]:
    """Every operation of the document, in the order of its tags."""
    shown = [
        _shown(document, path, verb, operation)
        for path, verbs in [*document["paths"].items(), *document["webhooks"].items()]
        for verb, operation in verbs.items()
    ]
    return [
        Group(tag["name"], tag["description"], mine)
        for tag in document["tags"]
        if (mine := [one for one in shown if tag["name"] in one.operation["tags"]])
    ]


def _shown(document: Json, path: str, verb: str, operation: Json) -> Shown:
    best: Json = next((answer for status, answer in operation["responses"].items() if status.startswith("2")), {})
    asked = operation.get("requestBody", {})
    example = asked.get("content", {}).get("application/json", {}).get("example")
    return Shown(
        operation["operationId"],
        verb.upper(),
        path,
        operation,
        list(_rows(document, _schema(asked), "", _DEEPEST)),
        list(_rows(document, _schema(best), "", _DEEPEST)),
        json.dumps(example, indent=2) if example else "",
    )


def _schema(part: Json) -> Json:
    schema: Json = part.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _rows(document: Json, schema: Json, within: str, deeper: int) -> Iterator[Row]:
    schema = _resolved(document, schema)
    needed = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        inner = _resolved(document, _some(one))
        about = one.get("description") or inner.get("description", "")
        yield Row(within + name, _type(document, one), name in needed, about.partition("\n")[0])
        if deeper:
            many = inner.get("type") == "array"
            part = _some(inner.get("items", {})) if many else inner
            yield from _rows(document, part, f"{within}{name}{'[]' if many else ''}.", deeper - 1)


def _resolved(document: Json, schema: Json) -> Json:
    reference = schema.get("$ref")
    return document["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


def _some(schema: Json) -> Json:
    """What a field is when it is not null: the most telling of its alternatives."""
    arms = [arm for arm in schema.get("anyOf", []) if arm.get("type") != "null"]
    return next((arm for arm in arms if "$ref" in arm or arm.get("type") in {"array", "object"}), schema)


def _type(document: Json, schema: Json) -> str:
    if arms := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_type(document, arm) for arm in arms if arm.get("type") != "null"))
    whole = _resolved(document, schema)
    if values := whole.get("enum", [whole["const"]] if "const" in whole else None):
        return " | ".join(str(value) for value in values)
    if whole.get("type") == "array":
        return f"list of {_type(document, whole.get('items', {}))}"
    return str(whole.get("format") or whole.get("type", "anything"))
