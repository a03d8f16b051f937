"""A body read into its family's model, with a fault for everything that is of a wrong type.

What is wrong is taken out, place by place, and the rest is read: so that the rules can name what else is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from worker.kling.redact import shorten
from worker.kling.requests import Request
from worker.kling.rule import Fault

#: Rules that a wrong type in a field breaks; R003 is the general one.
_RULES = {
    "watermark_info": "R011",
    "duration": "R008",
    "sound": "R008",
    "mode": "R008",
    "aspect_ratio": "R008",
    "model_name": "R004",
}
#: The same by the last name of a path.
_INNER_RULES = {"keep_original_sound": "R047", "refer_type": "R046", "image_url": "R034", "video_url": "R045"}
_TYPES = {
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "missing": "is required",
    "string_too_short": "must not be empty",
    "string_unicode": "must have keys and texts of whole characters",
    "too_long": "has far too many entries",
}
SOURCE = "DOC A, B (field types)"

_Path = tuple[str | int, ...]


def parse(model: type[Request], body: dict[str, Any]) -> tuple[Request, tuple[Fault, ...]]:
    """The request with everything that has its type, and a fault for everything that has not."""
    try:
        return model.model_validate(body), ()
    except ValidationError as problem:
        errors = _errors(problem)
    faults = tuple(_merged(_fault(error) for error in errors))
    paths = {_path(body, error["loc"]) for error in errors}
    for doubted in (paths, {path[:1] for path in paths}):
        try:
            return model.model_validate(_without(body, doubted)), faults
        except ValidationError:
            # A list of plain strings has no empty entry to put in a wrong one's place: the list goes as a whole.
            continue
    return model.model_validate({}), faults


def _errors(problem: ValidationError) -> list[Any]:
    return list(problem.errors(include_url=False, include_context=False))


def _path(body: dict[str, Any], place: Sequence[str | int]) -> _Path:
    """The part of pydantic's place that is in the body: it also names arms of unions, and what is missing."""
    node: Any = body
    path: list[Any] = []
    for step in place:
        if not (step in node if isinstance(node, dict) else isinstance(node, list) and isinstance(step, int)):
            break
        path.append(step)
        node = node[step]
    return tuple(path)


def _without(body: dict[str, Any], paths: Iterable[_Path]) -> dict[str, Any]:
    """A copy of `body` without what stands at `paths`; its other parts are shared."""
    kept: Any = {name: value for name, value in body.items() if _is_text(name)}
    for path in paths:
        if path and path[0] in kept:
            kept = _cut(kept, path)
    return dict(kept)


def _cut(node: Any, path: _Path) -> Any:
    first, rest = path[0], path[1:]
    copy: Any = node.copy()
    if rest:
        copy[first] = _cut(node[first], rest)
    elif isinstance(first, int):
        copy[first] = {}  # an entry that says nothing, so that the others keep their numbers
    else:
        del copy[first]
    return copy


def _is_text(name: str) -> bool:
    """JSON can escape half a character; no key of Kling's has one."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def _merged(faults: Iterable[Fault]) -> Iterable[Fault]:
    """One fault a field: a union of types reports one error for each of them."""
    by_field: dict[str, Fault] = {}
    for fault in faults:
        before = by_field.get(fault.field)
        if before is None:
            by_field[fault.field] = fault
        elif fault.allowed not in before.allowed:
            allowed = f"{before.allowed} or {fault.allowed.removeprefix('must be ')}"
            by_field[fault.field] = Fault(fault.field, fault.rule, fault.found, allowed, fault.source)
    return by_field.values()


_UNION_ARMS = frozenset({"str", "int", "bool", "float"})


def _fault(error: Any) -> Fault:
    path = ""
    for step in error["loc"]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in _UNION_ARMS:
            path += f".{step}" if path else str(step)
    found = shorten(None if error["type"] == "missing" else error["input"])
    allowed = _TYPES.get(error["type"], "is of a wrong type")
    return Fault(path or "body", _rule(path), found, allowed, SOURCE)


def _rule(path: str) -> str:
    last = path.rpartition(".")[2]
    return _INNER_RULES.get(last) or _RULES.get(path.partition("[")[0].partition(".")[0], "R003")


def hides(field: str, faulty: Iterable[str]) -> bool:
    """Whether `field` lies in one whose type is wrong: that was said, and the rest of it could not be read."""
    return any(field == one or field.startswith((f"{one}.", f"{one}[")) for one in faulty)
