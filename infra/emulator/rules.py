"""The rules of a create body (reference section 3): numbered rows, each a function that returns a complaint or nothing.

This module holds what all families share; `rules_video`, `rules_image` and `rules_other` hold what is theirs.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

from infra.emulator import rules_image, rules_other, rules_video
from infra.emulator.ask import Ask
from infra.emulator.config import Edition
from infra.emulator.families import Family, values_at
from infra.emulator.rule import Rule, one_of
from infra.emulator.wire import Refusal

_URL = re.compile(r"https?://\S+")
_BOOLEAN = {True, False, "true", "false"}


def parse(family: Family, body: bytes, characters: frozenset[str]) -> Ask:
    """R003: the body is a JSON object, whatever the Content-Type says; Refusal 1200 otherwise."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(1200, "request body is not valid JSON") from None
    if not isinstance(document, dict):
        raise Refusal(1200, "request body must be a JSON object")
    return Ask(family, document, characters)


def check(ask: Ask, edition: Edition) -> None:
    """Refusal 1201 with the first complaint, in the order in which the live service was seen to check."""
    for rule in chain(COMMON, OF_FAMILY.get(ask.family.path, ())):
        complaint = rule.check(ask) if edition in rule.editions else None
        if complaint:
            raise Refusal(1201, complaint)


def _model(ask: Ask) -> str | None:
    return one_of(ask, "model_name", ask.family.models) if ask.family.models else None


def _required(ask: Ask) -> str | None:
    """The live service says of a missing image: "image can not be null"."""
    for key in ask.family.required:
        if ask.get(key) is None:
            return f"{key} can not be null"
    return None


def _media(ask: Ask) -> str | None:
    for source in ask.media("images"):
        if not isinstance(source, str):
            return "image must be a string"
        if not _URL.fullmatch(source) and not _base64(source):
            return "File is not in a valid base64 format"
    for source in ask.media("videos"):
        if not isinstance(source, str) or not _URL.fullmatch(source):
            return "Video URL is invalid"
    for source in ask.media("sounds"):
        if not isinstance(source, str) or not (_URL.fullmatch(source) or _base64(source)):
            return "File is not in a valid base64 format"
    return None


def _base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False


def _texts(ask: Ask) -> str | None:
    for key in ("prompt", "negative_prompt", "callback_url", "external_task_id"):
        value = ask.get(key)
        if value is not None and not isinstance(value, str):
            return f"{key} must be a string"
        if key.endswith("prompt") and len(value or "") > 2500:
            return f"{key} must not exceed 2500 characters"
    return None


def _callback(ask: Ask) -> str | None:
    url = ask.callback_url
    return None if not url or _URL.fullmatch(url) else "callback_url is invalid"


def _watermark(ask: Ask) -> str | None:
    info = ask.body.get("watermark_info")
    if info is None or (isinstance(info, Mapping) and isinstance(info.get("enabled", False), bool)):
        return None
    return "watermark_info must be an object with a boolean 'enabled'"


def _lists(ask: Ask) -> str | None:
    for key in ("image_list", "element_list", "video_list", "voice_list", "multi_prompt", "dynamic_masks"):
        value = ask.get(key)
        if value is None:
            continue
        if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
            return f"{key} must be a list of objects"
    return None


def _identified(ask: Ask) -> str | None:
    for key, name in (("element_list", "element_id"), ("voice_list", "voice_id")):
        ids: list[Any] = list(values_at(ask.body, f"{key}[].{name}"))
        if len(ids) != len(ask.rows(key)):
            return f"{name} can not be null"
        if any(isinstance(one, bool) or not isinstance(one, int | str) for one in ids):
            return f"{name} is invalid"
        if key == "element_list" and not all(str(one).isdecimal() for one in ids):
            return f"{name} is invalid"
    return None


def _multi_shot(ask: Ask) -> str | None:
    value = ask.get("multi_shot", False)
    return None if isinstance(value, bool | str) and value in _BOOLEAN else "multi_shot must be a boolean"


COMMON = (
    Rule("R004", _model),
    Rule("R003", _lists),
    Rule("R003", _required),
    Rule("R009", _media),
    Rule("R005", _texts),
    Rule("R003", _callback),
    Rule("R011", _watermark),
    Rule("R008", _multi_shot),
    Rule("R003", _identified),
)

OF_FAMILY = {**rules_video.OF_FAMILY, **rules_image.OF_FAMILY, **rules_other.OF_FAMILY}
