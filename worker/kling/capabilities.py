"""What each model can do, as data. Source: spec section 2.7 (A, B, R, Cv), the capability map by `model_name`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_FIVE_OR_TEN = ("5", "10")
THREE_TO_TEN = tuple(str(n) for n in range(3, 11))
THREE_TO_FIFTEEN = tuple(str(n) for n in range(3, 16))
#: `(mode, duration)` pairs; a mode alone stands for all durations.
_PRO = frozenset({"pro"})
_ALL = frozenset({"std", "pro", "4k"})


@dataclass(frozen=True, slots=True)
class Model:
    """One row of the map. Sets name the modes in which something works; empty is never."""

    durations: tuple[str, ...] = _FIVE_OR_TEN
    four_k: bool = False  #: since edition 2026-06
    image_tail: frozenset[str] = frozenset()
    image_tail_seconds: tuple[str, ...] = _FIVE_OR_TEN
    tail_only: bool = False  #: `image_tail` without `image`, in pro
    tail_silent: bool = False  #: `image_tail` only with sound off
    sound: frozenset[str] = frozenset()
    multi_shot: bool = False
    masks: frozenset[str] = frozenset()  #: motion brush, at 5 s
    voices: frozenset[str] = frozenset()
    cfg_scale: bool = False
    elements: bool = False  #: in image2video


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "kling-v1": Model(
            image_tail=frozenset({"std", "pro"}),
            image_tail_seconds=("5",),
            masks=frozenset({"std", "pro"}),
            cfg_scale=True,
        ),
        "kling-v1-5": Model(image_tail=_PRO, tail_only=True, masks=_PRO, cfg_scale=True),
        "kling-v1-6": Model(image_tail=_PRO, tail_only=True, cfg_scale=True),
        "kling-v2-master": Model(),
        "kling-v2-1": Model(image_tail=_PRO),
        "kling-v2-1-master": Model(),
        "kling-v2-5-turbo": Model(image_tail=_PRO),
        "kling-v2-6": Model(image_tail=_PRO, tail_silent=True, sound=_PRO, voices=_PRO),
        "kling-v3": Model(
            durations=THREE_TO_FIFTEEN,
            four_k=True,
            image_tail=_ALL,
            image_tail_seconds=THREE_TO_FIFTEEN,
            sound=_ALL,
            multi_shot=True,
            cfg_scale=True,
            elements=True,
        ),
        "kling-v3-omni": Model(durations=THREE_TO_FIFTEEN, four_k=True, sound=_ALL, multi_shot=True),
        "kling-video-o1": Model(durations=THREE_TO_TEN),
    }
)
