"""Of which type each field of each family is (reference section 2), and where a body departs from that.

What a value may be, and beside what, is for the rules; null reads as absent. Fields that no edition names are let
through: every gateway sends some, without a reported failure (R003).
"""

from collections.abc import Callable, Mapping
from typing import Any

#: A scalar's test, an object's fields, or a list of one entry's shape.
Shape = Callable[[Any], bool] | Mapping[str, "Shape"] | list["Shape"]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer_or_text(value: Any) -> bool:
    """Ids, counts and lengths: official samples write some of each as the other (R008)."""
    return isinstance(value, str) or _integer(value)


def _flag_or_text(value: Any) -> bool:
    """An official sample sends `multi_shot` as the string "true"."""
    return isinstance(value, bool | str)


def _full(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_COMMON: Mapping[str, Shape] = {
    "model_name": _text, "callback_url": _text, "external_task_id": _text, "watermark_info": {"enabled": _flag},
}  # fmt: skip
_ELEMENTS: Shape = [{"element_id": _integer_or_text}]
_PICTURES: Shape = [{"image": _text}]
_PROMPTS: Mapping[str, Shape] = {"prompt": _text, "negative_prompt": _text}
_SHOTS: Mapping[str, Shape] = {
    "prompt": _text, "multi_shot": _flag_or_text, "shot_type": _text, "mode": _text, "duration": _integer_or_text,
    "multi_prompt": [{"index": _integer_or_text, "prompt": _text, "duration": _integer_or_text}], "sound": _text,
}  # fmt: skip
_AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
_CLASSIC: Mapping[str, Shape] = {
    **_SHOTS, "negative_prompt": _text, "voice_list": [{"voice_id": _integer_or_text}], "cfg_scale": _number,
    "camera_control": {"type": _text, "config": dict.fromkeys(_AXES, _number)},
}  # fmt: skip

_FAMILIES: Mapping[str, Mapping[str, Shape]] = {
    "videos/omni-video": {
        **_SHOTS, "image_list": [{"image_url": _text, "type": _text}], "element_list": _ELEMENTS,
        "video_list": [{"video_url": _text, "refer_type": _text, "keep_original_sound": _text}], "aspect_ratio": _text,
    },
    "videos/text2video": {**_CLASSIC, "aspect_ratio": _text},
    "videos/image2video": {
        **_CLASSIC, "image": _text, "image_tail": _text, "element_list": _ELEMENTS, "static_mask": _text,
        "dynamic_masks": [{"mask": _text, "trajectories": [{"x": _integer, "y": _integer}]}],
    },
    "videos/multi-image2video": {
        **_PROMPTS, "image_list": _PICTURES, "mode": _text, "duration": _integer_or_text, "aspect_ratio": _text,
    },
    "videos/video-extend": {**_PROMPTS, "video_id": _integer_or_text, "cfg_scale": _number},
    "videos/multi-elements": {
        **_PROMPTS, "session_id": _integer_or_text, "edit_mode": _text, "image_list": _PICTURES, "mode": _text,
        "duration": _integer_or_text,
    },
    "videos/advanced-lip-sync": {
        "session_id": _integer_or_text,
        "face_choose": [
            {
                "face_id": _integer_or_text, "audio_id": _integer_or_text, "sound_file": _text,
                "sound_start_time": _integer_or_text, "sound_end_time": _integer_or_text,
                "sound_insert_time": _integer_or_text, "sound_volume": _number, "original_audio_volume": _number,
            }
        ],
    },
    "videos/lip-sync": {
        "input": {
            "video_id": _integer_or_text, "video_url": _text, "mode": _text, "text": _text, "voice_id": _text,
            "voice_language": _text, "voice_speed": _number, "audio_id": _integer_or_text, "audio_type": _text,
            "audio_file": _text, "audio_url": _text,
        }
    },
    "videos/avatar/image2video": {
        "image": _text, "audio_id": _integer_or_text, "sound_file": _text, "prompt": _text, "mode": _text,
    },
    "videos/effects": {
        "effect_scene": _text,
        "input": {
            "image": _text, "images": [_full], "model_name": _text, "mode": _text, "duration": _integer_or_text,
        },
    },
    "videos/motion-control": {
        "prompt": _text, "image_url": _text, "video_url": _text, "character_orientation": _text, "mode": _text,
        "keep_original_sound": _text, "element_list": _ELEMENTS,
    },
    "images/omni-image": {
        "prompt": _text, "image_list": _PICTURES, "element_list": _ELEMENTS, "resolution": _text, "result_type": _text,
        "n": _integer_or_text, "series_amount": _integer_or_text, "aspect_ratio": _text,
    },
    "images/generations": {
        **_PROMPTS, "image": _text, "image_reference": _text, "image_fidelity": _number, "human_fidelity": _number,
        "element_list": _ELEMENTS, "resolution": _text, "n": _integer_or_text, "aspect_ratio": _text,
    },
    "images/multi-image2image": {
        "prompt": _text, "subject_image_list": [{"subject_image": _text}], "scene_image": _text, "style_image": _text,
        "n": _integer_or_text, "aspect_ratio": _text,
    },
    "images/kolors-virtual-try-on": {"human_image": _text, "cloth_image": _text},
    "images/editing/expand": {
        "image": _text, "prompt": _text, "n": _integer_or_text,
        **{f"{side}_expansion_ratio": _number for side in ("up", "down", "left", "right")},
    },
    "audio/text-to-audio": {"prompt": _text, "duration": _number},
    "audio/video-to-audio": {
        "video_id": _integer_or_text, "video_url": _text, "sound_effect_prompt": _text, "bgm_prompt": _text,
        "asmr_mode": _flag,
    },
    "general/advanced-custom-elements": {
        "element_name": _text, "element_description": _text, "reference_type": _text,
        "element_image_list": {"frontal_image": _text, "refer_images": [{"image_url": _text}]},
        "element_video_list": {"refer_videos": [{"video_url": _text}]}, "element_voice_id": _integer_or_text,
        "tag_list": [{"tag_id": _text}],
    },
    "general/ai-multi-shot": {"element_frontal_image": _text},
    "general/custom-voices": {"voice_name": _text, "voice_url": _text, "video_id": _integer_or_text},
}  # fmt: skip
SHAPES: Mapping[str, Mapping[str, Shape]] = {path: {**_COMMON, **fields} for path, fields in _FAMILIES.items()}


def has(path: str, field: str) -> bool:
    """Whether a family has a field of that name."""
    return field in SHAPES[path]


def surplus(path: str, body: Mapping[str, Any]) -> str:
    """A key of the body that its family does not have, or empty; the deprecated `model` is known everywhere."""
    return next((key for key in body if key != "model" and not has(path, key)), "")


def misfit(value: Any, shape: Shape, at: str = "") -> str:
    """Where a value first departs from its shape, as `list[0].key`; empty where it fits."""
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            return at or "body"
        return _first(
            misfit(value[key], inner, f"{at}.{key}" if at else key)
            for key, inner in shape.items()
            if value.get(key) is not None
        )
    if isinstance(shape, list):
        if not isinstance(value, list):
            return at
        return _first(misfit(entry, shape[0], f"{at}[{place}]") for place, entry in enumerate(value))
    return "" if shape(value) else at


def _first(places: Any) -> str:
    return next(filter(None, places), "")
