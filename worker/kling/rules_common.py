"""Rules that hold for every family, or for many. Source: spec section 3, "Common"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel

from worker.kling.catalog import FAMILIES
from worker.kling.media import MEDIA_FIELDS, base64_fault, doubtful
from worker.kling.requests import MODELS, given
from worker.kling.rule import Check, Found, Miss, Rules, Seen, one_of, whole

COMMON = Rules()
_EVERY = tuple(FAMILIES)
_MODELLED = tuple(path for path, row in FAMILIES.items() if row.models)
_OWN_MODEL_RULE = ("videos/omni-video", "videos/text2video", "videos/image2video")
_PROMPTED = tuple(
    path for path in FAMILIES if path not in {"audio/text-to-audio", "audio/video-to-audio", "videos/lip-sync",
    "videos/advanced-lip-sync", "videos/effects", "images/kolors-virtual-try-on"}
)  # fmt: skip


def _known_model(seen: Seen) -> Found:
    models = seen.limits.models or seen.family.models
    if seen.model in models:
        return None
    return Miss("model_name", seen.request.model_name, one_of(models))


for _id, _families in (
    ("R020", ("videos/omni-video",)),
    ("R060", ("videos/text2video",)),
    ("R080", ("videos/image2video",)),
    ("R004", tuple(path for path in _MODELLED if path not in _OWN_MODEL_RULE)),
):
    COMMON.rule(_id, _families, "model_name is one of the family's models.", "DOC A, B; gateways' own documents")(
        _known_model
    )


@COMMON.rule("R003", _EVERY, "Fields that a gateway's own document makes mandatory are there.", "S1, S2")
def required(seen: Seen) -> Found:
    """What is missing of what the gateway in use requires. Left out of the plan where it requires nothing."""
    return [
        Miss(name, None, "is required by this gateway")
        for name in seen.limits.required
        if given(seen.request, name) is None
    ]


@COMMON.rule(
    "R003",
    _EVERY,
    "Keys that no edition names are kept and sent; whether they have an effect is the provider's business.",
    "DOC Ce; AMB: every gateway sends surplus keys without failures",
    lenient=True,
)
def _surplus(seen: Seen) -> Found:
    extra = seen.request.model_extra
    if not extra:
        return None
    return [
        Miss(name[:80], value, "is no field of this family and will likely be ignored")
        for name, value in extra.items()
        if name != "model"
    ]


def _entries(field: str) -> Check:
    def check(seen: Seen) -> Found:
        entries = seen.request.__dict__[field]
        for item in entries:
            if item.__pydantic_extra__:
                return _surplus_in(field, entries)
        return None

    return check


def _surplus_in(field: str, entries: Sequence[BaseModel]) -> list[Miss]:
    return [
        Miss(f"{field}[{number}].{name[:80]}", value, "is no field here and will likely be ignored")
        for number, item in enumerate(entries)
        for name, value in (item.model_extra or {}).items()
    ]


for _field in ("image_list", "element_list", "video_list", "multi_prompt", "voice_list"):
    COMMON.advice(
        "R003",
        tuple(path for path, model in MODELS.items() if _field in model.model_fields),
        f"Entries of {_field} have no other keys than the documented ones.",
        "AMB, as for the body's own keys",
        when=_field,
    )(_entries(_field))


@COMMON.advice("R004", _EVERY, "model is an old name that has no effect: model_name says the model.", "DOC B, Cig")
def _old_name(seen: Seen) -> Found:
    extra = seen.request.model_extra
    if not extra or "model" not in extra:
        return None
    return Miss("model", extra["model"], f"will be ignored: send model_name, {seen.model or 'no model'} will be used")


@COMMON.rule("R005", _PROMPTED, "prompt and negative_prompt stay within their length.", "DOC A, B; S0, S3 for CometAPI")
def _length(seen: Seen) -> Found:
    request, limits = seen.request, seen.limits
    prompt = request.prompt
    negative = request.__dict__.get("negative_prompt")
    misses = []
    if prompt is not None and len(prompt) > limits.prompt:
        misses.append(Miss("prompt", prompt, f"must be at most {limits.prompt} characters"))
    if negative is not None and len(negative) > limits.negative_prompt:
        misses.append(Miss("negative_prompt", negative, f"must be at most {limits.negative_prompt} characters"))
    return misses or None


_TIMED = tuple(
    path
    for path in FAMILIES
    if path.startswith("videos/") and path not in {"videos/video-extend", "videos/motion-control", "videos/lip-sync",
    "videos/advanced-lip-sync", "videos/avatar/image2video", "videos/effects"}
)  # fmt: skip


@COMMON.rule(
    "R008",
    _TIMED,
    "duration is a string; a number is sent on as it came.",
    "DOC; AMB: a gateway's sample sends a number",
    lenient=True,
)
def _duration_type(seen: Seen) -> Found:
    duration = seen.request.duration
    return Miss("duration", duration, 'should be a string, such as "5"') if isinstance(duration, int) else None


_SHOT_FAMILIES = ("videos/omni-video", "videos/text2video", "videos/image2video")


@COMMON.rule(
    "R008",
    _SHOT_FAMILIES,
    "multi_shot is a boolean, or one of the strings true and false.",
    "DOC; sample in A",
    when="multi_shot",
)
def _flag(seen: Seen) -> Found:
    value = seen.request.multi_shot
    if value is None or isinstance(value, bool) or value in ("true", "false", ""):
        return None
    return Miss("multi_shot", value, "must be true or false")


@COMMON.rule(
    "R008",
    _SHOT_FAMILIES,
    "A shot's duration is a string; a number is sent on as it came.",
    "DOC; AMB: a gateway's sample sends a number",
    lenient=True,
    when="multi_prompt",
)
def _shot_duration_type(seen: Seen) -> Found:
    return [
        Miss(f"multi_prompt[{number}].duration", shot.duration, 'should be a string, such as "2"')
        for number, shot in enumerate(seen.request.multi_prompt)
        if isinstance(shot.duration, int)
    ]


_ELEMENTED = (
    "videos/omni-video", "videos/image2video", "videos/motion-control", "images/omni-image", "images/generations",
)  # fmt: skip


@COMMON.rule(
    "R003",
    _ELEMENTED,
    "Each element has an element_id, a 64-bit number or its digits.",
    "DOC A, B, S1; AX for a gateway's own ids",
    when="element_list",
)
def _element_ids(seen: Seen) -> Found:
    return [
        Miss(f"element_list[{number}].element_id", item.element_id, "must be an element's id")
        for number, item in enumerate(seen.request.element_list)
        if item.element_id in (None, "") or not (seen.limits.own_ids or _is_long(item.element_id))
    ]


def _is_long(element_id: int | str) -> bool:
    if isinstance(element_id, int):
        return 0 <= element_id < 2**63
    return element_id.isascii() and element_id.isdecimal() and len(element_id) < 20


_COUNTED = ("images/omni-image", "images/generations", "images/multi-image2image", "images/editing/expand")


@COMMON.rule("R102", _COUNTED, "n is a whole number from 1 to 9.", "DOC A, Cio, Cig")
def _count(seen: Seen) -> Found:
    n = seen.request.n
    if n is None or n == "" or 1 <= (whole(n) or 0) <= 9:
        return None
    if seen.request.__dict__.get("result_type") == "series":
        return None  # it has no effect there
    return Miss("n", n, "must be a whole number from 1 to 9")


@COMMON.rule(
    "R009", tuple(MEDIA_FIELDS), "Media given as base64 are valid base64, without a data: prefix.", "DOC B; OBS"
)
def _base64(seen: Seen) -> Found:
    fields = seen.request.__dict__
    if not any(map(fields.get, MEDIA_FIELDS[seen.family.path])):
        return None
    return [
        Miss(place.field, place.value, fault)
        for place in doubtful(seen.family.path, fields)
        if (fault := base64_fault(place))
    ]


#: `object` is an older word for element; official samples write it with two brackets, too.
_PLACEHOLDER = re.compile(r"(<{2,3})([a-z]{1,20})_(\d{1,6})(>{2,3})")
_LISTS = {"image": "image_list", "element": "element_list", "video": "video_list", "voice": "voice_list"}


@COMMON.advice(
    "R057",
    _PROMPTED,
    "A placeholder such as <<<image_1>>> names a place in its list, counted from 1.",
    "DOC; whether the server checks is not documented",
)
def _placeholders(seen: Seen) -> Found:
    request = seen.request
    prompt = request.prompt
    misses = _unplaced(request, "prompt", prompt) if prompt and "<<" in prompt else []
    for number, shot in enumerate(request.__dict__.get("multi_prompt") or ()):
        if shot.prompt and "<<" in shot.prompt:
            misses += _unplaced(request, f"multi_prompt[{number}].prompt", shot.prompt)
    return misses


#: How references are nearly always written; looking one up is five times as quick as the expression.
_USUAL = {f"{kind}_{number}": (kind, number) for kind in _LISTS for number in range(1, 21)}


def _all_placed(request: object, prompt: str) -> bool:
    """Whether every reference is a usual one that names its place; when in doubt, no."""
    _, *rest = prompt.split("<<<")
    if len(rest) != prompt.count("<<"):
        return False
    for part in rest:
        kind, number = _USUAL.get(part.partition(">>>")[0], ("", 0))
        if not kind or number > _listed(request, kind):
            return False
    return True


def _unplaced(request: object, where: str, prompt: str) -> list[Miss]:
    if _all_placed(request, prompt):
        return []
    misses = []
    for opened, word, number, closed in _PLACEHOLDER.findall(prompt):
        kind = "element" if word == "object" else word
        if kind not in _LISTS:
            misses.append(Miss(where, f"<<<{word}_{number}>>>", f"the word {one_of(tuple(_LISTS))}"))
        elif word != "object" and len(opened + closed) != 6:
            misses.append(Miss(where, f"{opened}{word}_{number}{closed}", f"may be meant as <<<{word}_{number}>>>"))
        elif not 1 <= int(number) <= _listed(request, kind):
            misses.append(Miss(where, f"<<<{word}_{number}>>>", f"names a place that {_LISTS[kind]} does not have"))
    return misses


def _listed(request: object, kind: str) -> int:
    """How many places a placeholder of that kind can name."""
    fields = request.__dict__
    if kind == "image" and "image_list" not in fields:
        return sum(1 for name in ("image", "image_tail", "image_url") if fields.get(name))
    if kind == "video" and "video_list" not in fields:
        return 1  # the session's or the request's one video
    return len(fields.get(_LISTS[kind]) or ())
