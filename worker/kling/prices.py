"""What a request costs, by the price table. Source: spec section 9 (DOC via A and P): units a second or an image.

List prices: one video unit is 0.14 USD, one image unit 0.0035 USD.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from worker.kling.catalog import FAMILIES

_USD = {"video": Decimal("0.14"), "audio": Decimal("0.14"), "image": Decimal("0.0035")}

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
#: Families with a price of their own, a task.
_TASK = {"audio/text-to-audio": "0.25", "audio/video-to-audio": "0.25"}


@dataclass(frozen=True, slots=True)
class Cost:
    """Units, and list price in USD; None where the table is silent or the length is not known before."""

    units: Decimal | None
    usd: Decimal | None


def cost(family: str, request: Any) -> Cost:
    """The cost of a parsed request. What depends on an input's length (an edit, a lip-sync) has none beforehand."""
    row = FAMILIES[family]
    units = None
    if request is not None:
        if family in _TASK:
            units = Decimal(_TASK[family])
        elif row.kind == "image":
            units = _image_units(request, request.model_name or (row.models or ("",))[0])
        elif row.models:
            units = _video_units(
                request, request.model_name or row.models[0], getattr(request, "mode", None) or row.mode
            )
    return Cost(units, None if units is None else units * _USD[row.kind])


def _video_units(request: Any, model: str, mode: str) -> Decimal | None:
    prices = _SECOND.get(model, {}).get(mode)
    seconds = str(getattr(request, "duration", None) or "5")
    if prices is None or not (seconds.isascii() and seconds.isdigit() and len(seconds) < 4):
        return None
    videos = getattr(request, "video_list", None)
    if videos and (videos[0].refer_type or "base") == "base":
        return None
    if videos or hasattr(request, "character_orientation"):
        return None if hasattr(request, "character_orientation") else Decimal(prices[3]) * int(seconds)
    sound = getattr(request, "sound", None) == "on"
    column = (2 if getattr(request, "voice_list", None) else 1) if sound else 0
    return Decimal(prices[column]) * int(seconds)


def _image_units(request: Any, model: str) -> Decimal | None:
    prices = _IMAGE.get(model)
    if prices is None:
        return None
    count = getattr(request, "n", None) or 1
    if getattr(request, "result_type", None) == "series":
        count = getattr(request, "series_amount", None) or 4
    if not str(count).isdigit():
        return None
    if getattr(request, "resolution", None) == "4k":
        return Decimal(16) * int(count)
    if hasattr(request, "subject_image_list"):
        return Decimal(16) * int(count) if model == "kling-v2-1" else None
    from_image = getattr(request, "image", None) or getattr(request, "image_list", None)
    return Decimal(prices[1 if from_image else 0]) * int(count)
