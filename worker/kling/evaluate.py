"""One pure evaluation of a request: every fault at once, and what will be ignored.

>>> verdict = evaluate("videos/omni-video", {"prompt": "a cat", "aspect_ratio": "4:3"})
>>> [fault.field for fault in verdict.faults]
['aspect_ratio']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import ValidationError

from worker.kling.catalog import FAMILIES, Family
from worker.kling.editions import EDITIONS
from worker.kling.errors import UnknownEdition, UnknownFamily
from worker.kling.gateways import gateway as gateway_row
from worker.kling.prices import Cost, cost
from worker.kling.redact import shorten
from worker.kling.requests import MODELS, Request
from worker.kling.rule import Check, Fault, Limits, Miss, Rule, Seen, Severity
from worker.kling.rules_common import COMMON
from worker.kling.rules_image import IMAGE
from worker.kling.rules_omni import OMNI
from worker.kling.rules_other import OTHER
from worker.kling.rules_shots import SHOTS
from worker.kling.rules_video import VIDEO

RULES: tuple[Rule, ...] = tuple(chain.from_iterable(group.rows for group in (COMMON, SHOTS, OMNI, VIDEO, IMAGE, OTHER)))

#: By field (see `Rule.when`), rules with their checks beside them: looking one up costs as much as most of them take.
_Checks = tuple[tuple[str, tuple[tuple[Check, Rule], ...]], ...]

_PLAIN = Limits()
_NONE: frozenset[str] = frozenset()
#: What a gateway's own document says otherwise, by gateway and family; "" is any family.
_OVERLAYS: Mapping[tuple[str, str], Limits] = MappingProxyType(
    {
        ("cometapi", "videos/omni-video"): Limits(models=("kling-video-o1",)),
        ("cometapi", "videos/image2video"): Limits(prompt=500, negative_prompt=200),
        ("cometapi", "videos/text2video"): Limits(prompt=500, negative_prompt=200),
        ("hingnet", "videos/omni-video"): Limits(models=("kling-video-o1",), required=("prompt",)),
        ("anyapi", "videos/omni-video"): Limits(required=("model_name", "mode", "duration", "multi_shot")),
    }
)

#: Rules that a wrong type in a field breaks; R003 is the general one.
_TYPE_RULES = {
    "watermark_info": "R011",
    "duration": "R008",
    "sound": "R008",
    "mode": "R008",
    "aspect_ratio": "R008",
    "model_name": "R004",
}
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
}
_TYPE_SOURCE = "DOC A, B (field types)"


class Verdict(NamedTuple):
    """What became of a request. It is accepted when there are no faults."""

    family: str
    edition: str  #: by which it was judged
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    request: Request | None  #: as parsed; None when the body is no object. Fields of a wrong type are left out

    #: How Kling answers such a request.
    http_status: int = 400
    code: int = 1201

    @property
    def accepted(self) -> bool:
        """Whether Kling would take it, as far as anybody knows."""
        return not self.faults

    @property
    def cost(self) -> Cost:
        """What the price table says it costs."""
        return cost(self.family, self.request)


def evaluate(
    family: str,
    body: object,
    *,
    gateway: str = "official",
    edition: str | None = None,
    strict: bool = False,
    elements: Mapping[str, str] | None = None,
) -> Verdict:
    """Judge `body` for a family (its path below /v1) by the rules of an edition.

    The edition is the newest unless said; for a gateway of the seeds, its own document's. `elements` names the kinds
    of elements by id (`image` or `video`), where somebody looked them up. Raises `UnknownFamily`, `UnknownGateway`,
    `UnknownEdition`, and nothing else, whatever JSON value `body` is.
    """
    if family not in FAMILIES:
        raise UnknownFamily(f"no family is {family[:60]!r}; known are {', '.join(FAMILIES)}")
    row, edition, limits, refusing, warning = _plan(family, gateway, edition, strict)
    if not isinstance(body, dict):
        fault = Fault("body", "R003", shorten(body), "must be a JSON object", _TYPE_SOURCE)
        return Verdict(family, edition, (fault,), (), None)
    request, typed = _parse(MODELS[family], body)
    seen = Seen(request, row, edition=edition, limits=limits, kinds=elements)
    roots = frozenset(_root(fault.field) for fault in typed) if typed else _NONE
    faults = typed + _faults(refusing, seen, roots)
    return Verdict(family, edition, faults, _faults(warning, seen, roots), request)


@lru_cache(maxsize=512)
def _plan(
    family: str,
    gateway: str,
    edition: str | None,
    strict: bool,  # noqa: FBT001 - a cache key has no names
) -> tuple[Family, str, Limits, _Checks, _Checks]:
    """What an evaluation needs that does not depend on the request."""
    edition = edition or gateway_row(gateway).edition
    if edition not in EDITIONS:
        raise UnknownEdition(f"unknown edition {edition[:20]!r}; known are {', '.join(EDITIONS)}")
    mine = [(rule, rule.severity(edition, strict=strict)) for rule in RULES if family in rule.families]
    refusing = _grouped(rule for rule, severity in mine if severity is Severity.REFUSE)
    warning = _grouped(rule for rule, severity in mine if severity is Severity.WARN)
    return FAMILIES[family], edition, _OVERLAYS.get((gateway, family), _PLAIN), refusing, warning


def _grouped(rules: Iterable[Rule]) -> _Checks:
    """Rules by the field that they look at: most requests leave most fields out."""
    groups: dict[str, list[tuple[Check, Rule]]] = {}
    for rule in rules:
        groups.setdefault(rule.when, []).append((rule.check, rule))
    return tuple((field, tuple(group)) for field, group in groups.items())


def _faults(checks: _Checks, seen: Seen, faulty: frozenset[str]) -> tuple[Fault, ...]:
    """What the rules find, but for fields that could not even be read: their type was named already."""
    fields = seen.request.__dict__
    found = [
        (rule, miss)
        for field, group in checks
        if not field or fields.get(field)
        for check, rule in group
        if (miss := check(seen))
    ]
    if not found:
        return ()
    misses = [(rule, one) for rule, some in found for one in ((some,) if isinstance(some, Miss) else some)]
    return tuple(rule.fault(miss) for rule, miss in misses if _root(miss.field) not in faulty)


def _root(field: str) -> str:
    return field.partition("[")[0].partition(".")[0]


def _parse(model: type[Request], body: dict[str, Any]) -> tuple[Request, tuple[Fault, ...]]:
    """The request with every field that has its type, and a fault for every one that has not."""
    try:
        return model.model_validate(body), ()
    except ValidationError as problem:
        errors = problem.errors(include_url=False, include_context=False)
    roots = {error["loc"][0] for error in errors}
    request = model.model_validate({name: value for name, value in body.items() if name not in roots})
    return request, tuple(_merged(_type_fault(error) for error in errors))


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


def _type_fault(error: Any) -> Fault:
    path = ""
    for step in error["loc"]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in _UNION_ARMS:
            path += f".{step}" if path else str(step)
    found = shorten(None if error["type"] == "missing" else error["input"])
    allowed = _TYPES.get(error["type"], "is of a wrong type")
    return Fault(path, _TYPE_RULES.get(_root(path), "R003"), found, allowed, _TYPE_SOURCE)
