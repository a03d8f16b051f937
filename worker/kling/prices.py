"""What a request costs, by the price table. Source: spec section 9 (DOC via A and P): units a second or an image.

List prices: one video unit is 0.14 USD, one image unit 0.0035 USD.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from worker.kling.catalog import FAMILIES
from worker.kling.rule import whole

_USD = {"video": Decimal("0.14"), "audio": Decimal("0.14"), "image": Decimal("0.0035")}

_SILENT, _SOUND, _VOICES, _VIDEO = range(4)
#: model -> mode -> units a second: silent, with sound, with sound and voices, with a video as input.
_SECOND: dict[str, dict[str, tuple[str, str, str, str]]] = {
    "kling-v3": {"std": ("0.6", "0.9", "1.1", "0.9"), "pro": ("0.8", "1.2", "1.4", "1.2"), "4k": ("3", "3", "3", "3")},
    "kling-v3-omni": {
        "std": ("0.6", "0.8", "0.8", "0.9"),
        "pro": ("0.8", "1.0", "1.0", "1.2"),
        "4k": ("3", "3", "3", "3"),
    },
    "kling-video-o1": {"std": ("0.6", "0.6", "0.6", "0.9"), "pro": ("0.8", "0.8", "0.8", "1.2")},
    "kling-v2-6": {"std": ("0.3", "0.3", "0.3", "0.5"), "pro": ("0.5", "1.0", "1.2", "0.8")},
    "kling-v2-5-turbo": {"std": ("0.3",) * 4, "pro": ("0.5",) * 4},
    "kling-v2-1": {"std": ("0.4",) * 4, "pro": ("0.7",) * 4},
    "kling-v2-1-master": {"std": ("2",) * 4, "pro": ("2",) * 4},
    "kling-v2-master": {"std": ("2",) * 4, "pro": ("2",) * 4},
    "kling-v1-6": {"std": ("0.4",) * 4, "pro": ("0.7",) * 4},
    "kling-v1-5": {"std": ("0.4",) * 4, "pro": ("0.7",) * 4},
    "kling-v1": {"std": ("0.2",) * 4, "pro": ("0.7",) * 4},
}
#: model -> units an image, and with an image as input.
_IMAGE = {
    "kling-v1": ("1", "1"),
    "kling-v2-1": ("4", "8"),
    "kling-v3": ("8", "8"),
    "kling-v3-omni": ("8", "8"),
    "kling-image-o1": ("8", "8"),
}
_FOUR_K = "16"
_FROM_SEVERAL = "16"  #: multi-image2image on kling-v2-1
#: Families with a price of their own, a task.
_TASK = {"audio/text-to-audio": "0.25", "audio/video-to-audio": "0.25"}


@dataclass(frozen=True, slots=True)
class Cost:
    """Units, and list price in USD; None where the table is silent or the length is not known before."""

    units: Decimal | None
    usd: Decimal | None


_UNKNOWN = Cost(None, None)


def cost(family: str, request: Any) -> Cost:
    """The cost of a parsed request. What depends on an input's length (an edit, a lip-sync) has none beforehand."""
    row = FAMILIES[family]
    fields = request.__dict__ if request is not None else {}
    model = fields.get("model_name") or (row.models[0] if row.models else "")
    if family in _TASK:
        return _cost(Decimal(_TASK[family]), row.kind)
    if row.kind == "image":
        return _cost(_image_units(fields, model), row.kind)
    if not row.models or "character_orientation" in fields:
        return _UNKNOWN
    videos = fields.get("video_list")
    if videos and (videos[0].refer_type or "base") == "base":
        return _UNKNOWN
    sound = fields.get("sound") == "on"
    column = _VIDEO if videos else _SILENT if not sound else _VOICES if fields.get("voice_list") else _SOUND
    return _a_second(model, fields.get("mode") or row.mode, column, fields.get("duration") or "5")


def _cost(units: Decimal | None, kind: str) -> Cost:
    return _UNKNOWN if units is None else Cost(units, units * _USD[kind])


@lru_cache(maxsize=1024)
def _a_second(model: str, mode: str, column: int, duration: str | int) -> Cost:
    prices = _SECOND.get(model, {}).get(mode)
    seconds = whole(duration)
    return _UNKNOWN if prices is None or seconds is None else _cost(Decimal(prices[column]) * seconds, "video")


def _image_units(fields: dict[str, Any], model: str) -> Decimal | None:
    series = fields.get("result_type") == "series"
    count = whole((fields.get("series_amount") or 4) if series else (fields.get("n") or 1))
    prices = _IMAGE.get(model)
    if prices is None or count is None:
        return None
    if "subject_image_list" in fields:
        return Decimal(_FROM_SEVERAL) * count if model == "kling-v2-1" else None
    if fields.get("resolution") == "4k":
        return Decimal(_FOUR_K) * count
    return Decimal(prices[1 if fields.get("image") or fields.get("image_list") else 0]) * count
