"""The rules of a create body (reference section 3): numbered rows, each a function that returns a complaint or nothing.

This module holds what all families share; `rules_video`, `rules_image` and `rules_other` hold what is theirs.
"""

import binascii
import json
import re
from itertools import chain
from typing import Any

from infra.emulator import rules_image, rules_other, rules_video
from infra.emulator.ask import Ask
from infra.emulator.config import Edition
from infra.emulator.families import Family, values_at
from infra.emulator.rule import Rule, digits, one_of
from infra.emulator.shapes import SHAPES, has, misfit, surplus
from infra.emulator.wire import Refusal

_URL = re.compile(r"https?://\S+")


def parse(family: Family, body: bytes, characters: frozenset[str]) -> Ask:
    """R003: the body is a JSON object, whatever the Content-Type says; Refusal 1201 otherwise."""
    return Ask(family, document(body), characters)


def document(body: bytes) -> dict[str, Any]:
    """The JSON object of a request; Refusal 1201 for anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(1201, "request body is not valid JSON") from None
    if not isinstance(found, dict):
        raise Refusal(1201, "request body must be a JSON object")
    return found


def check(ask: Ask, edition: Edition, *, strict: bool = False) -> None:
    """Refusal 1201 with the first complaint, in the order in which the live service was seen to check."""
    for rule in chain(COMMON, OF_FAMILY.get(ask.family.path, ())):
        holds = edition in rule.editions and (strict or not rule.strict)
        complaint = rule.check(ask) if holds else None
        if complaint:
            raise Refusal(1201, complaint)


def _model(ask: Ask) -> str | None:
    return one_of(ask, "model_name", ask.family.models) if ask.family.models else None


def _shape(ask: Ask) -> str | None:
    place = misfit(ask.body, SHAPES[ask.family.path])
    return f"{place} is invalid" if place else None


def _surplus(ask: Ask) -> str | None:
    key = surplus(ask.family.path, ask.body)
    return f"{key} is not supported" if key else None


def _required(ask: Ask) -> str | None:
    """The live service says of a missing image: "image can not be null"."""
    for key in ask.family.required:
        if ask.get(key) is None:
            return f"{key} can not be null"
    return None


def _media(ask: Ask) -> str | None:
    for source in (*ask.media("images"), *ask.media("sounds")):
        if not _URL.fullmatch(source) and not _base64(source):
            return "File is not in a valid base64 format"
    for source in ask.media("videos"):
        if not _URL.fullmatch(source):
            return "Video URL is invalid"
    return None


def _base64(text: str) -> bool:
    try:
        return bool(binascii.a2b_base64(text, strict_mode=True))
    except ValueError:
        return False


def _texts(ask: Ask) -> str | None:
    for key in ("prompt", "negative_prompt"):
        if has(ask.family.path, key) and len(ask.text(key)) > 2500:
            return f"{key} must not exceed 2500 characters"
    return None


def _watermark(ask: Ask) -> str | None:
    info = ask.body.get("watermark_info")
    enabled = info is None or isinstance(info.get("enabled"), bool)
    return None if enabled else "watermark_info must be an object with a boolean 'enabled'"


def _identified(ask: Ask) -> str | None:
    for key, name in (("element_list", "element_id"), ("voice_list", "voice_id")):
        if not has(ask.family.path, key):
            continue
        ids: list[Any] = list(values_at(ask.body, f"{key}[].{name}"))
        if len(ids) != len(ask.rows(key)):
            return f"{name} can not be null"
        if key == "element_list" and any(digits(one) is None for one in ids):
            return f"{name} is invalid"
    return None


COMMON = (
    Rule("R004", _model),
    Rule("R003", _shape),
    Rule("R003", _surplus, strict=True),
    Rule("R003", _required),
    Rule("R009", _media),
    Rule("R005", _texts),
    Rule("R011", _watermark),
    Rule("R003", _identified),
)

OF_FAMILY = {**rules_video.OF_FAMILY, **rules_image.OF_FAMILY, **rules_other.OF_FAMILY}
