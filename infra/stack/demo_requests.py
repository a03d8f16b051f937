"""The requests of the demo: what the five documents that started this project show or describe, with real media."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.stack import samples

_OMNI = "videos/omni-video"
_IMAGE = "videos/image2video"
#: Short side in pixels. Source: "std: 720P, pro: 1080P", Series 3.0 Model API Specification (seed 004).
_SHORT_SIDE = {"std": 720, "pro": 1080}
_BOAT_WIDTH, _BOAT_HEIGHT = 960, 720


@dataclass(frozen=True)
class Expected:
    """What must come out: seconds, width by height, pixels of the short side (None: not promised), sound or none."""

    seconds: float
    ratio: float
    short_side: int | None
    sound: bool = False


@dataclass(frozen=True)
class Asked:
    """One request of the demo: where it comes from, what is sent, what must come out."""

    name: str
    source: str
    family: str
    body: Mapping[str, Any]
    expected: Expected

    @property
    def path(self) -> str:
        """The seeds' own path."""
        return f"/kling/v1/{self.family}"


@dataclass(frozen=True)
class Media:
    """The links of the uploaded inputs."""

    picture_url: str
    film_url: str


def requests_of(media: Media, callback_url: str, prompt: str | None) -> list[Asked]:
    """All requests, the person's own last."""
    asked = [
        _text_to_video("text to video", "A paper boat sails down a rainy street, cinematic light", callback_url),
        _image_reference(media),
        _video_edit(media),
        _element(),
        _multi_shot(callback_url),
        _image_to_video(callback_url),
    ]
    return [*asked, _text_to_video("your prompt", prompt, callback_url)] if prompt else asked


def _text_to_video(name: str, prompt: str, callback_url: str) -> Asked:
    body = {
        "model_name": "kling-video-o1",
        "prompt": prompt,
        "mode": "std",
        "aspect_ratio": "16:9",
        "duration": "5",
        "callback_url": callback_url,
    }
    source = "CometAPI omni-video, text to video: prompt, mode, aspect_ratio, duration (seed 000)"
    return Asked(name, source, _OMNI, body, Expected(5, 16 / 9, _SHORT_SIDE["std"]))


def _image_reference(media: Media) -> Asked:
    body = {
        "model_name": "kling-video-o1",
        "prompt": "<<<image_1>>>中的场景转为电影镜头",
        "image_list": [{"image_url": media.picture_url}],
        "mode": "pro",
        "aspect_ratio": "16:9",
        "duration": "7",
    }
    source = "Hingnet, scene 1: image reference (seed 002)"
    return Asked("image reference", source, _OMNI, body, Expected(7, 16 / 9, _SHORT_SIDE["pro"]))


def _video_edit(media: Media) -> Asked:
    body = {
        "model_name": "kling-video-o1",
        "prompt": "给<<<video_1>>>中的人物戴上皇冠",
        "video_list": [{"video_url": media.film_url, "refer_type": "base", "keep_original_sound": "yes"}],
        "mode": "pro",
        "external_task_id": f"demo-{secrets.token_hex(6)}",
    }
    source = "Hingnet, scene 2: video edit, refer_type=base (seed 002), with an external_task_id (seed 000)"
    ratio = samples.FILM_WIDTH / samples.FILM_HEIGHT
    return Asked(
        "video edit", source, _OMNI, body, Expected(samples.FILM_SECONDS, ratio, _SHORT_SIDE["pro"], sound=True)
    )


def _element() -> Asked:
    body = {
        "model_name": "kling-video-o1",
        "prompt": "生成一个海边有一个人跳舞的视频",
        "negative_prompt": "",
        "mode": "std",
        "element_list": [{"element_id": 835266081714884677}],
        "aspect_ratio": "16:9",
        "duration": "5",
        "callback_url": "",
        "external_task_id": "",
    }
    source = "AnyAPI, the example as it stands, without its commented lines (seed 001)"
    return Asked("element", source, _OMNI, body, Expected(5, 16 / 9, _SHORT_SIDE["std"]))


def _multi_shot(callback_url: str) -> Asked:
    body = {
        "model_name": "kling-v3-omni",
        "multi_shot": True,
        "shot_type": "customize",
        "multi_prompt": [
            {"index": 1, "prompt": "A lighthouse at dusk, waves below", "duration": "2"},
            {"index": 2, "prompt": "Its lamp begins to turn, close-up", "duration": "3"},
        ],
        "sound": "on",
        "mode": "std",
        "aspect_ratio": "9:16",
        "duration": "5",
        "watermark_info": {"enabled": False},
        "callback_url": callback_url,
    }
    source = "AnyAPI, the body that its schema describes: kling-v3-omni, multi_shot customize, sound (seed 001)"
    return Asked("multi-shot + sound", source, _OMNI, body, Expected(5, 9 / 16, _SHORT_SIDE["std"], sound=True))


def _image_to_video(callback_url: str) -> Asked:
    picture = samples.picture(_BOAT_WIDTH, _BOAT_HEIGHT, "JPEG")
    body = {
        "model_name": "kling-v2-master",
        "image": base64.b64encode(picture).decode(),
        "prompt": "The sun sets behind the hill, the camera slowly rises",
        "duration": "5",
        "callback_url": callback_url,
    }
    source = "CometAPI image2video: kling-v2-master, one base64 image, one prompt (seed 003)"
    # No mode to choose, and the sources disagree about this model's pixels.
    return Asked("image to video", source, _IMAGE, body, Expected(5, _BOAT_WIDTH / _BOAT_HEIGHT, None))
