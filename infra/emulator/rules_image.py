"""Rules of the image families (R100..R108, R124)."""

from infra.emulator.ask import Ask
from infra.emulator.config import Edition
from infra.emulator.families import values_at
from infra.emulator.rule import EVERY, Rule, at_most, enum, fraction, whole

_OMNI = "kling-v3-omni"
_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")
_SIDES = ("up", "down", "left", "right")


def _keyed(key: str, name: str) -> Rule:
    def check(ask: Ask) -> str | None:
        found = len(list(values_at(ask.body, f"{key}[].{name}")))
        return None if found == len(ask.rows(key)) else f"{name} can not be null"

    return Rule("R100", check)


def _references(ask: Ask) -> str | None:
    count = len(ask.media("images")) + len(ask.rows("element_list"))
    return "the number of images and elements must not exceed 10" if count > 10 else None


def _omni_only(ask: Ask) -> str | None:
    if ask.model == _OMNI:
        return None
    if ask.text("resolution") == "4k":
        return f"model/resolution({ask.model}/4k) is not supported"
    return f"model({ask.model}) is not supported with series" if ask.text("result_type") == "series" else None


def _series(ask: Ask) -> str | None:
    """R101, R102: series_amount counts only in a series."""
    if ask.text("result_type") != "series":
        return None
    if not ask.media("images"):
        return "image can not be null"
    return None if ask.get("series_amount") == "auto" else whole("series_amount", 2, 9)(ask)


def _count(ask: Ask) -> str | None:
    return None if ask.text("result_type") == "series" else whole("n", 1, 9)(ask)


def _old_models(ask: Ask) -> str | None:
    """R104."""
    if ask.text("resolution") == "2k" and ask.model in {"kling-v1", "kling-v1-5"}:
        return f"model/resolution({ask.model}/2k) is not supported"
    if ask.text("aspect_ratio") == "21:9" and ask.model == "kling-v1":
        return f"model/aspect_ratio({ask.model}/21:9) is not supported"
    return None


def _old_models_named(ask: Ask) -> str | None:
    """R104. Pages of mid-2026 say that a body without a model means kling-v3; older ones, kling-v1."""
    return _old_models(ask) if ask.get("model_name") else None


def _generations(ask: Ask) -> str | None:
    """R106."""
    if ask.get("image_reference") and not ask.get("image"):
        return "image can not be null"
    needs = ask.model == "kling-v1-5" and ask.get("image") and not ask.get("image_reference")
    return "image_reference can not be null" if needs else None


def _expansion(ask: Ask) -> str | None:
    """R124."""
    ratios = [ask.body.get(f"{side}_expansion_ratio") for side in _SIDES]
    numbers = [ratio for ratio in ratios if ratio is not None]
    if len(numbers) != 4 or any(not 0 <= number <= 2 for number in numbers):
        return "expansion ratios must be between 0 and 2"
    up, down, left, right = numbers
    area = (1 + up + down) * (1 + left + right)
    return "the expanded area must not exceed 3 times the original" if area > 3 else None


OF_FAMILY = {
    "images/omni-image": (
        _keyed("image_list", "image"),
        Rule("R008", enum("resolution", "1k", "2k", "4k")),
        Rule("R008", enum("result_type", "single", "series")),
        Rule("R103", enum("aspect_ratio", *_RATIOS, "auto")),
        Rule("R101", _omni_only),
        Rule("R102", _series),
        Rule("R102", _count),
        Rule("R100", _references),
    ),
    "images/generations": (
        Rule("R008", enum("resolution", "1k", "2k")),
        Rule("R104", enum("aspect_ratio", *_RATIOS)),
        Rule("R104", whole("n", 1, 9)),
        Rule("R106", enum("image_reference", "subject", "face")),
        Rule("R107", fraction("image_fidelity", 0, 1)),
        Rule("R107", fraction("human_fidelity", 0, 1)),
        Rule("R104", _old_models, EVERY - {Edition.JUNE}),
        Rule("R104", _old_models_named, frozenset({Edition.JUNE})),
        Rule("R106", _generations),
        Rule("R108", _references),
    ),
    "images/multi-image2image": (
        _keyed("subject_image_list", "subject_image"),
        Rule("R100", at_most("subject_image_list", 4, 1)),
        Rule("R104", enum("aspect_ratio", *_RATIOS)),
        Rule("R104", whole("n", 1, 9)),
    ),
    "images/editing/expand": (Rule("R124", _expansion), Rule("R124", whole("n", 1, 9))),
}
