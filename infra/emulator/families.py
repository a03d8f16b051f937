"""The asynchronous task families of the `/v1` API, one row each (reference section 2)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_O1, _OMNI = "kling-video-o1", "kling-v3-omni"
_V1 = ("kling-v1",)
_TEXT = (
    "kling-v1", "kling-v1-6", "kling-v2-master", "kling-v2-1-master", "kling-v2-5-turbo", "kling-v2-6", "kling-v3",
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """One row. `images`, `videos`, `sounds` and `clips` say where a body names media.

    `key`, `object.key` or `list[].key`, as `values_at` reads it.
    """

    path: str
    #: video, image, audio, element or voice: what a finished task holds.
    kind: str
    #: What it typically takes Kling, in seconds.
    seconds: float
    model: str = ""
    #: Empty: the family has no `model_name`.
    models: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()
    #: Videos that were made here before, by their ids.
    clips: tuple[str, ...] = ()
    mode: str = "std"

    @property
    def pack(self) -> str:
        """The kind of resource pack whose slots its tasks take."""
        return self.kind if self.kind in {"image", "audio"} else "video"


_ROWS = (
    Family(
        "videos/omni-video", "video", 319, _O1, (_O1, _OMNI), (),
        ("image_list[].image_url",), ("video_list[].video_url",), mode="pro",
    ),
    Family("videos/text2video", "video", 319, "kling-v1", _TEXT),
    Family(
        "videos/image2video", "video", 164, "kling-v1", (*_TEXT, "kling-v1-5", "kling-v2-1"), (),
        ("image", "image_tail", "static_mask", "dynamic_masks[].mask"),
    ),
    Family(
        "videos/multi-image2video", "video", 164, "kling-v1-6", ("kling-v1-6",), ("image_list", "prompt"),
        ("image_list[].image",),
    ),
    Family("videos/video-extend", "video", 319, required=("video_id",), clips=("video_id",)),
    Family(
        "videos/multi-elements", "video", 319, "kling-v1-6", ("kling-v1-6",), ("session_id", "edit_mode", "prompt"),
        ("image_list[].image",),
    ),
    Family(
        "videos/advanced-lip-sync", "video", 455, required=("session_id", "face_choose"),
        sounds=("face_choose[].sound_file",),
    ),
    Family(
        "videos/lip-sync", "video", 455, required=("input",), videos=("input.video_url",), clips=("input.video_id",),
    ),
    Family(
        "videos/avatar/image2video", "video", 455, required=("image",), images=("image",), sounds=("sound_file",),
    ),
    Family(
        "videos/effects", "video", 164, required=("effect_scene", "input"), images=("input.image", "input.images[]"),
    ),
    Family(
        "videos/motion-control", "video", 319, "kling-v2-6", ("kling-v2-6", "kling-v3"),
        ("image_url", "video_url", "character_orientation", "mode"), ("image_url",), ("video_url",),
    ),
    Family(
        "images/omni-image", "image", 32, "kling-image-o1", ("kling-image-o1", _OMNI), ("prompt",),
        ("image_list[].image",),
    ),
    Family(
        "images/generations", "image", 32, "kling-v1",
        (*_V1, "kling-v1-5", "kling-v2", "kling-v2-new", "kling-v2-1", "kling-v3"), ("prompt",), ("image",),
    ),
    Family(
        "images/multi-image2image", "image", 32, "kling-v2", ("kling-v2", "kling-v2-1"), ("subject_image_list",),
        ("subject_image_list[].subject_image", "scene_image", "style_image"),
    ),
    Family(
        "images/kolors-virtual-try-on", "image", 19, "kolors-virtual-try-on-v1",
        ("kolors-virtual-try-on-v1", "kolors-virtual-try-on-v1-5"), ("human_image", "cloth_image"),
        ("human_image", "cloth_image"),
    ),
    Family("images/editing/expand", "image", 32, required=("image",), images=("image",)),
    Family("audio/text-to-audio", "audio", 30, required=("prompt", "duration")),
    Family("audio/video-to-audio", "audio", 30, videos=("video_url",), clips=("video_id",)),
    Family(
        "general/advanced-custom-elements", "element", 30,
        required=("element_name", "element_description", "reference_type"),
        images=("element_image_list.frontal_image", "element_image_list.refer_images[].image_url"),
        videos=("element_video_list.refer_videos[].video_url",),
    ),
    Family(
        "general/ai-multi-shot", "image", 32, required=("element_frontal_image",), images=("element_frontal_image",),
    ),
    Family("general/custom-voices", "voice", 30, required=("voice_name",), sounds=("voice_url",), clips=("video_id",)),
)  # fmt: skip

#: Path without `/v1/` -> family.
FAMILIES = {family.path: family for family in _ROWS}

_STEP = re.compile(r"(\w+)(\[\])?")


def values_at(body: Any, path: str) -> Iterator[Any]:
    """What stands in `body` at a path like `image_list[].image_url`, absent and empty values left out (R007).

    >>> list(values_at({"image_list": [{"image": "a"}, {}]}, "image_list[].image"))
    ['a']
    """
    step, _, rest = path.partition(".")
    match = _STEP.fullmatch(step)
    assert match
    found = body.get(match[1]) if isinstance(body, Mapping) else None
    every = found if match[2] and isinstance(found, list) else [found]
    for value in every:
        if rest:
            yield from values_at(value, rest)
        elif value not in (None, "", []):
            yield value
