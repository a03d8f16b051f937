"""One request of each family that may be sent as it stands, but for its media."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_IMAGE = "https://media.example/cat.png"
_VIDEO = "https://media.example/cat.mp4"
_SOUND = "https://media.example/cat.mp3"
_CAT = "a cat on a skateboard"

EXAMPLES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "videos/omni-video": {
            "model_name": "kling-video-o1", "prompt": _CAT, "mode": "std", "aspect_ratio": "16:9", "duration": "5",
            "callback_url": "https://app.example/hook", "external_task_id": "order-7",
        },
        "videos/text2video": {"model_name": "kling-v3", "prompt": _CAT, "mode": "pro", "sound": "on", "duration": "10"},
        "videos/image2video": {"model_name": "kling-v3", "image": _IMAGE, "prompt": "it rides away", "duration": "5"},
        "videos/multi-image2video": {"image_list": [{"image": _IMAGE}], "prompt": _CAT},
        "videos/video-extend": {"video_id": "797191640795996237", "prompt": "it lands"},
        "videos/motion-control": {
            "image_url": _IMAGE, "video_url": _VIDEO, "character_orientation": "image", "mode": "std",
        },
        "videos/multi-elements": {"session_id": "1", "edit_mode": "removal", "prompt": "the dog from <<<video_1>>>"},
        "videos/avatar/image2video": {"image": _IMAGE, "sound_file": _SOUND},
        "videos/effects": {"effect_scene": "hug", "input": {"model_name": "kling-v1-6", "mode": "std",
                           "images": [_IMAGE, _IMAGE], "duration": "5"}},
        "videos/lip-sync": {"input": {"video_id": "797191640795996237", "mode": "audio2video", "audio_type": "url",
                            "audio_url": _SOUND}},
        "videos/advanced-lip-sync": {
            "session_id": "1",
            "face_choose": [{"face_id": "0", "audio_id": "1", "sound_start_time": 0, "sound_end_time": 3000,
                             "sound_insert_time": 0}],
        },
        "images/omni-image": {"prompt": _CAT, "aspect_ratio": "1:1", "n": 2},
        "images/generations": {"model_name": "kling-v2-1", "prompt": _CAT, "n": 1, "aspect_ratio": "16:9"},
        "images/multi-image2image": {
            "model_name": "kling-v2", "prompt": _CAT,
            "subject_image_list": [{"subject_image": _IMAGE}, {"subject_image": _IMAGE}],
        },
        "images/kolors-virtual-try-on": {"human_image": _IMAGE, "cloth_image": _IMAGE},
        "images/editing/expand": {
            "image": _IMAGE, "up_expansion_ratio": 0.1, "down_expansion_ratio": 0.1, "left_expansion_ratio": 0.1,
            "right_expansion_ratio": 0.1,
        },
        "audio/text-to-audio": {"prompt": "skateboard wheels on a wooden floor", "duration": 5},
        "audio/video-to-audio": {"video_url": _VIDEO, "sound_effect_prompt": "wheels"},
    }
)  # fmt: skip
