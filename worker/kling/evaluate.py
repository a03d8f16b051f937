"""One pure evaluation of a request: every fault at once, and what will be ignored.

>>> verdict = evaluate("videos/omni-video", {"prompt": "a cat", "aspect_ratio": "4:3"})
>>> [fault.field for fault in verdict.faults]
['aspect_ratio']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from worker.kling.catalog import FAMILIES, Family
from worker.kling.editions import EDITIONS
from worker.kling.errors import UnknownEdition, UnknownFamily
from worker.kling.gateways import gateway as gateway_row
from worker.kling.parse import SOURCE, hides, parse
from worker.kling.prices import Cost, cost
from worker.kling.redact import shorten
from worker.kling.requests import MODELS, Request
from worker.kling.rule import Check, Fault, Limits, Miss, Rule, Seen, Severity
from worker.kling.rules_common import COMMON, required
from worker.kling.rules_image import IMAGE
from worker.kling.rules_omni import OMNI
from worker.kling.rules_other import OTHER
from worker.kling.rules_shots import SHOTS
from worker.kling.rules_stated import STATED
from worker.kling.rules_video import VIDEO

_CHECKED = chain.from_iterable(group.rows for group in (COMMON, SHOTS, OMNI, VIDEO, IMAGE, OTHER))
RULES: tuple[Rule, ...] = (*STATED, *_CHECKED)

#: By field (see `Rule.when`), rules with their checks beside them: looking one up costs as much as most of them take.
#: True where the rule refuses.
_Checks = tuple[tuple[str, tuple[tuple[Check, Rule, bool], ...]], ...]

_PLAIN = Limits()
#: What a gateway's own document says otherwise, by gateway and family; "" is any family.
_OVERLAYS: Mapping[tuple[str, str], Limits] = MappingProxyType(
    {
        ("cometapi", "videos/omni-video"): Limits(models=("kling-video-o1",)),
        ("cometapi", "videos/image2video"): Limits(prompt=500, negative_prompt=200),
        ("cometapi", "videos/text2video"): Limits(prompt=500, negative_prompt=200),
        ("hingnet", "videos/omni-video"): Limits(
            models=("kling-video-o1",), required=("prompt",), ratio_of_features=True
        ),
        ("anyapi", "videos/omni-video"): Limits(
            required=("model_name", "mode", "duration", "multi_shot"), own_ids=True
        ),
    }
)


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
    row, edition, limits, checks = _plan(family, gateway, edition, strict)
    if not isinstance(body, dict):
        fault = Fault("body", "R003", shorten(body), "must be a JSON object", SOURCE)
        return Verdict(family, edition, (fault,), (), None)
    request, typed = parse(MODELS[family], body)
    seen = Seen(request, row, edition=edition, limits=limits, kinds=elements)
    faulty = [fault.field for fault in typed]
    if "model_name" in faulty:
        seen.model, seen.can = "that model_name", None
    faults, warnings = _faults(checks, seen, faulty)
    return Verdict(family, edition, typed + faults, warnings, request)


@lru_cache(maxsize=512)
def _plan(
    family: str,
    gateway: str,
    edition: str | None,
    strict: bool,  # noqa: FBT001 - a cache key has no names
) -> tuple[Family, str, Limits, _Checks]:
    """What an evaluation needs that does not depend on the request."""
    edition = edition or gateway_row(gateway).edition
    if edition not in EDITIONS:
        raise UnknownEdition(f"unknown edition {edition[:20]!r}; known are {', '.join(EDITIONS)}")
    limits = _OVERLAYS.get((gateway, family), _PLAIN)
    mine = [
        (rule, rule.severity(edition, strict=strict))
        for rule in RULES
        if family in rule.families and (limits.required or rule.check is not required)
    ]
    return FAMILIES[family], edition, limits, _grouped(mine)


def _grouped(rules: Iterable[tuple[Rule, Severity]]) -> _Checks:
    """Rules by the field that they look at: most requests leave most fields out."""
    groups: dict[str, list[tuple[Check, Rule, bool]]] = {}
    for rule, severity in rules:
        if rule.check is not None and severity is not Severity.OFF:
            groups.setdefault(rule.when, []).append((rule.check, rule, severity is Severity.REFUSE))
    return tuple((field, tuple(group)) for field, group in groups.items())


def _faults(checks: _Checks, seen: Seen, faulty: Sequence[str]) -> tuple[tuple[Fault, ...], tuple[Fault, ...]]:
    """What refuses and what warns, but for fields that could not even be read: their type was named already."""
    fields = seen.request.__dict__
    found = [
        (rule, refuses, miss)
        for field, group in checks
        if not field or fields.get(field)
        for check, rule, refuses in group
        if (miss := check(seen))
    ]
    if not found:
        return (), ()
    told: tuple[list[Fault], list[Fault]] = ([], [])
    for rule, refuses, some in found:
        misses = (some,) if isinstance(some, Miss) else some
        told[not refuses].extend(rule.fault(miss) for miss in misses if not (faulty and hides(miss.field, faulty)))
    return tuple(told[0]), tuple(told[1])
