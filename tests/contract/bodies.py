"""Bodies at the boundaries of the reference: good ones of every family, and values at and just beyond each limit.

Nothing here knows either side's rules: what is right is for the two sides to agree upon.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

Body = dict[str, Any]

#: Nobody listens there: an emulator that fetches it only fails its task.
IMAGE = "http://127.0.0.1:9/a.png"
TAIL = "http://127.0.0.1:9/b.png"
VIDEO = "http://127.0.0.1:9/a.mp4"
SOUND = "http://127.0.0.1:9/a.mp3"
ABSENT = object()
#: Ids of elements that both sides know to be video characters; all others are made of images.
CHARACTERS = frozenset({"901", "902", "903", "904"})

_SHOTS = [{"index": 1, "prompt": "s", "duration": "2"}, {"index": 2, "prompt": "s", "duration": "3"}]
_VOICE = {"voice_id": "v"}
_CAMERA = {"type": "simple", "config": {"horizontal": 5}}
_BRUSH = {"mask": TAIL, "trajectories": [{"x": 0, "y": 0}, {"x": 9, "y": 9}]}
_FACE = {"face_id": "0", "audio_id": "1", "sound_start_time": 0, "sound_end_time": 3000, "sound_insert_time": 0}
_SPOKEN = {"video_id": "1", "mode": "text2video", "text": "hello", "voice_id": "v"}
_SPREAD = {f"{side}_expansion_ratio": 0.1 for side in ("up", "down", "left", "right")}
_OMNI: Body = {"model_name": "kling-v3-omni", "prompt": "a cat", "aspect_ratio": "16:9"}
_O1: Body = {"model_name": "kling-video-o1", "prompt": "a cat", "aspect_ratio": "1:1"}
_FIRST = {"image_url": IMAGE, "type": "first_frame"}
_LAST = {"image_url": TAIL, "type": "end_frame"}

#: Good requests of each family, the plainest first.
GOOD: Mapping[str, tuple[Body, ...]] = {
    "videos/omni-video": (
        {"prompt": "a cat", "aspect_ratio": "16:9"},
        {**_OMNI, "mode": "pro", "sound": "on", "duration": "15"},
        {**_OMNI, "multi_shot": True, "shot_type": "customize", "multi_prompt": _SHOTS, "duration": "5"},
        {**_OMNI, "multi_shot": True, "shot_type": "customize", "multi_prompt": _SHOTS, "image_list": [_FIRST]},
        {**_OMNI, "image_list": [_FIRST, _LAST]},
        {**_O1, "image_list": [_FIRST, _LAST], "duration": "10"},
        {**_O1, "image_list": [{"image_url": IMAGE}], "duration": "7"},
        {**_OMNI, "video_list": [{"video_url": VIDEO, "refer_type": "feature", "keep_original_sound": "no"}]},
        {"model_name": "kling-v3-omni", "prompt": "a cat", "video_list": [{"video_url": VIDEO}]},
        {**_OMNI, "element_list": [{"element_id": 1}, {"element_id": "901"}]},
    ),
    "videos/text2video": (
        {"prompt": "a cat"},
        {"model_name": "kling-v3", "prompt": "a cat", "mode": "pro", "sound": "on", "duration": "15"},
        {"model_name": "kling-v3", "multi_shot": "true", "shot_type": "customize", "multi_prompt": _SHOTS},
        {"model_name": "kling-v3", "multi_shot": True, "shot_type": "intelligence", "prompt": "a cat"},
        {"model_name": "kling-v1", "prompt": "a cat", "camera_control": _CAMERA},
        {"model_name": "kling-v2-6", "prompt": "a cat", "mode": "pro", "sound": "on", "voice_list": [_VOICE]},
    ),
    "videos/image2video": (
        {"image": IMAGE, "prompt": "a cat"},
        {"model_name": "kling-v3", "image": IMAGE, "image_tail": TAIL, "prompt": "a cat", "duration": "3"},
        {"model_name": "kling-v3", "image": IMAGE, "multi_shot": True, "shot_type": "intelligence", "prompt": "a cat"},
        {"model_name": "kling-v3", "image": IMAGE, "prompt": "a cat", "element_list": [{"element_id": 1}]},
        {"model_name": "kling-v1-6", "image_tail": TAIL, "mode": "pro"},
        {"model_name": "kling-v1", "image": IMAGE, "dynamic_masks": [_BRUSH], "static_mask": TAIL},
        {"model_name": "kling-v1-5", "image": IMAGE, "mode": "pro", "camera_control": _CAMERA},
        {"model_name": "kling-v2-6", "image": IMAGE, "mode": "pro", "sound": "on", "voice_list": [_VOICE]},
    ),
    "videos/multi-image2video": ({"image_list": [{"image": IMAGE}], "prompt": "a cat"},),
    "videos/video-extend": ({"video_id": "797191640795996237"},),
    "videos/motion-control": (
        {"image_url": IMAGE, "video_url": VIDEO, "character_orientation": "image", "mode": "std"},
        {
            "image_url": IMAGE, "video_url": VIDEO, "character_orientation": "video", "mode": "pro",
            "element_list": [{"element_id": 1}],
        },
    ),
    "videos/multi-elements": (
        {"session_id": "1", "edit_mode": "removal", "prompt": "x from <<<video_1>>>"},
        {"session_id": "1", "edit_mode": "addition", "prompt": "x", "image_list": [{"image": IMAGE}]},
        {"session_id": "1", "edit_mode": "swap", "prompt": "x", "image_list": [{"image": IMAGE}]},
    ),
    "videos/avatar/image2video": ({"image": IMAGE, "audio_id": "1"}, {"image": IMAGE, "sound_file": SOUND}),
    "videos/effects": (
        {"effect_scene": "hug", "input": {"images": [IMAGE, IMAGE]}},
        {"effect_scene": "squish", "input": {"image": IMAGE}},
    ),
    "videos/lip-sync": (
        {"input": _SPOKEN},
        {"input": {"video_url": VIDEO, "mode": "audio2video", "audio_type": "url", "audio_url": SOUND}},
    ),
    "videos/advanced-lip-sync": ({"session_id": "1", "face_choose": [_FACE]},),
    "images/omni-image": (
        {"prompt": "a cat"},
        {"model_name": "kling-v3-omni", "prompt": "a", "result_type": "series", "image_list": [{"image": IMAGE}]},
        {"prompt": "a", "image_list": [{"image": IMAGE}], "element_list": [{"element_id": 1}]},
    ),
    "images/generations": (
        {"prompt": "a cat"},
        {"model_name": "kling-v3", "prompt": "a", "image": IMAGE, "element_list": [{"element_id": 1}]},
        {"model_name": "kling-v1-5", "prompt": "a", "image": IMAGE, "image_reference": "face"},
    ),
    "images/multi-image2image": ({"subject_image_list": [{"subject_image": IMAGE}]},),
    "images/kolors-virtual-try-on": ({"human_image": IMAGE, "cloth_image": IMAGE},),
    "images/editing/expand": ({"image": IMAGE, **_SPREAD},),
    "audio/text-to-audio": ({"prompt": "rain", "duration": 5},),
    "audio/video-to-audio": ({"video_url": VIDEO}, {"video_id": "1"}),
}  # fmt: skip

#: What any field may be sent as by mistake.
ODD: tuple[Any, ...] = (
    ABSENT, None, "", " ", "x", 0, 1, 5, 7.5, -1, True, False, [], {}, [None], [[]], [{}], ["x"], {"x": 1},
)  # fmt: skip

MODELS = (
    "kling-v1", "kling-v1-5", "kling-v1-6", "kling-v2-master", "kling-v2-1", "kling-v2-1-master", "kling-v2-5-turbo",
    "kling-v2-6", "kling-v3", "kling-v3-omni", "kling-video-o1", "kling-image-o1", "kling-v2", "kling-v2-new",
    "kolors-virtual-try-on-v1", "kolors-virtual-try-on-v1-5", "kling-v3-0", "KLING-V3",
)  # fmt: skip
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9", "auto", "5:4", "16:9 ")
_MEDIA = (
    IMAGE,
    "https://127.0.0.1:9/a.png",
    "aGVsbG8=",
    "aGVsbG8",
    "data:image/png;base64,aGVsbG8=",
    "http://",
    "no way",
)


def _listed(entry: Any, most: int) -> tuple[Any, ...]:
    return tuple([entry] * number for number in range(most + 2))


def _in(entry: Body, name: str, *values: Any) -> tuple[Any, ...]:
    """`entry` with each of the values in a field, and without the field."""
    without = {key: value for key, value in entry.items() if key != name}
    return (without, *({**entry, name: value} for value in values))


def _one(*entries: Any) -> tuple[Any, ...]:
    """Lists of one entry."""
    return tuple([entry] for entry in entries)


def _shots(*lengths: Any) -> list[Body]:
    return [{"index": number, "prompt": "s", "duration": length} for number, length in enumerate(lengths, 1)]


_DURATIONS = (*(str(seconds) for seconds in range(17)), *range(2, 17), "05", "5.0", 5.0, "-5", "5s")
_IDS = (1, "1", "829836802793406551", 829836802793406551, "elem_1", "", None, -1, 1.5, True, [1])
_VIDEO_ROW = {"video_url": VIDEO}
_FRAMES = (
    [_FIRST], [_LAST], [_FIRST, _LAST], [_FIRST, _FIRST], [_LAST, _FIRST, _LAST], [_FIRST, _LAST, {"image_url": IMAGE}],
    [_FIRST, {"image_url": IMAGE}, {"image_url": IMAGE}],
)  # fmt: skip
_LENGTHS = ("x", "x" * 200, "x" * 201, "x" * 2500, "x" * 2501, "é" * 2500, "<<<image_9>>>")
_ELEMENTS = (
    *_listed({"element_id": 1}, 11), *_one(*_in({"element_id": 1}, "element_id", *_IDS)),
    *_listed({"element_id": "901"}, 4)[1:], [{"element_id": 901}, *[{"element_id": 1}] * 5],
    [{"element_id": 901}] * 2 + [{"element_id": 2}] * 2,
)  # fmt: skip
_VOICES = (*_listed({"voice_id": "v"}, 2), *_one(*_in({"voice_id": 1}, "voice_id", "", None, [], True)))
_PICTURES = (*_listed({"image": IMAGE}, 11), *_one(*({"image": one} for one in (*_MEDIA, "", None, 5)), {"x": 1}))
_SHOT = {"index": 1, "prompt": "s", "duration": "5"}
_SHOT_LISTS = (
    _shots("5"), _shots("2", "3"), _shots("2", "2"), _shots(2, 3), _shots("0", "5"), _shots("-1", "6"),
    _shots(*["1"] * 5), _shots(*["1"] * 6), _shots(*["1"] * 7), _shots("9", "6"), _shots("3.0", "2"), _shots("5", "5"),
    *_one(*_in(_SHOT, "index", "1", 7, 1.5, True, None, [], "one")),
    *_one(*_in(_SHOT, "prompt", "", " ", None, "x" * 512, "x" * 513, 5)),
    *_one(*_in(_SHOT, "duration", 5, "", None, "five", 5.0, "05", True)),
    [_SHOT | {"duration": "2"}, _SHOT | {"duration": "3"}],
)  # fmt: skip
_CONFIGS: tuple[Any, ...] = (
    {"pan": 10}, {"pan": -10}, {"pan": 10.5}, {"pan": 0}, {"pan": 5, "zoom": 5}, {"pan": 5, "zoom": 0}, {"spin": 5},
    {"pan": "5"}, {"pan": None}, {"pan": True}, {}, None, [], {"pan": 5, "spin": 1},
)  # fmt: skip
_MOVES = ("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward", "up", "", None, 5)
_CAMERAS = (
    *({"type": move} for move in _MOVES), *({"type": move, "config": {"pan": 5}} for move in _MOVES),
    *({"type": "simple", "config": config} for config in _CONFIGS), {"type": "down_back", "config": {}},
    {"type": "down_back", "config": None}, {"config": {"pan": 5}},
)  # fmt: skip
_POINT = {"x": 1, "y": 1}
_BRUSHES = (
    *_listed(_BRUSH, 6), *_one(*_in(_BRUSH, "mask", *_MEDIA, "", None, 5)),
    *_one(*({"mask": TAIL, "trajectories": [_POINT] * number} for number in (0, 1, 2, 77, 78))),
    *_one(*_in(_BRUSH, "trajectories", None, [{"x": 1}] * 2, [{"x": 1.5, "y": 1}] * 2, ["x"] * 2, [_POINT, None])),
)  # fmt: skip
_MARKS = (
    {"enabled": True}, {"enabled": False}, {"enabled": "yes"}, {"enabled": None}, [{"enabled": True}], {"enabled": 1},
)  # fmt: skip
_COUNTS = (0, 1, 2, 9, 10, -1, "1", "9", "10", "auto", 2.5, "²", "٣")
_FRACTIONS = (0, 1, 0.5, 1.0, 1.01, -0.01, "0.5", 2)

#: What every family takes.
_COMMON: Mapping[str, tuple[Any, ...]] = {
    "model_name": MODELS,
    "model": ("kling-v1",),
    "watermark_info": _MARKS,
    "external_task_id": ("",),
    "callback_url": ("", "http://127.0.0.1:9/"),
    "surprise": (1, "x"),
}
_SHOTTED: Mapping[str, tuple[Any, ...]] = {
    "prompt": _LENGTHS,
    "multi_shot": (True, False, "true", "false", "yes"),
    "shot_type": ("customize", "intelligence", "auto"),
    "multi_prompt": _SHOT_LISTS,
    "mode": ("std", "pro", "4k", "standard", "PRO"),
    "duration": _DURATIONS,
    "sound": ("on", "off", "ON"),
}
_CLASSIC: Mapping[str, tuple[Any, ...]] = {
    **_SHOTTED,
    "negative_prompt": _LENGTHS,
    "voice_list": _VOICES,
    "cfg_scale": _FRACTIONS,
    "camera_control": _CAMERAS,
    "aspect_ratio": RATIOS,
}
_MODED = ("std", "pro", "4k")
_TIMES = (0, 1, 2000, 2999, "0", "2000", "x", -1, 1.5)

#: family -> field -> values at and around its limits.
VALUES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "videos/omni-video": {
        **_SHOTTED,
        "image_list": (
            *_FRAMES, *_listed({"image_url": IMAGE}, 8), *_one(*_in(_FIRST, "image_url", *_MEDIA, "", None, 5)),
            *_one(*_in({"image_url": IMAGE}, "type", "first_frame", "last_frame", "", None, 5)),
            [{"image": IMAGE}],
        ),
        "element_list": _ELEMENTS,
        "video_list": (
            *_listed(_VIDEO_ROW, 1), *_one(*_in(_VIDEO_ROW, "video_url", "", None, "aGVsbG8=", "x", 5)),
            *_one(*_in(_VIDEO_ROW, "refer_type", "feature", "base", "", None, "style", 5)),
            *_one(*_in(_VIDEO_ROW, "keep_original_sound", "yes", "no", "", None, True, "on")),
        ),
        "aspect_ratio": RATIOS,
        "negative_prompt": ("blur", 5),
    },
    "videos/text2video": _CLASSIC,
    "videos/image2video": {
        **_CLASSIC, "image": _MEDIA, "image_tail": _MEDIA, "element_list": _ELEMENTS, "static_mask": _MEDIA,
        "dynamic_masks": _BRUSHES,
    },
    "videos/multi-image2video": {
        "image_list": _PICTURES, "prompt": _LENGTHS, "negative_prompt": _LENGTHS, "mode": _MODED,
        "duration": _DURATIONS, "aspect_ratio": RATIOS,
    },
    "videos/video-extend": {
        "video_id": _IDS, "prompt": _LENGTHS, "negative_prompt": _LENGTHS, "cfg_scale": _FRACTIONS,
    },
    "videos/motion-control": {
        "prompt": _LENGTHS, "image_url": _MEDIA, "video_url": (VIDEO, "aGVsbG8=", "x"), "mode": _MODED,
        "character_orientation": ("image", "video", "both"), "keep_original_sound": ("yes", "no", "maybe"),
        "element_list": _ELEMENTS,
    },
    "videos/multi-elements": {
        "session_id": _IDS, "edit_mode": ("addition", "swap", "removal", "move"), "image_list": _PICTURES,
        "prompt": _LENGTHS, "negative_prompt": _LENGTHS, "mode": _MODED, "duration": _DURATIONS,
    },
    "videos/avatar/image2video": {
        "image": _MEDIA, "audio_id": _IDS, "sound_file": (SOUND, "aGVsbG8=", "no way"), "prompt": _LENGTHS,
        "mode": _MODED,
    },
    "videos/effects": {
        "effect_scene": ("hug",),
        "input": (
            *({"image": one} for one in (*_MEDIA, "", None, 5)), *({"images": [IMAGE] * number} for number in range(4)),
            {"images": [IMAGE, ""]}, {"images": [IMAGE, None]}, {"images": "x"}, {"images": [IMAGE, "no way"]},
            {"image": IMAGE, "images": [IMAGE, IMAGE]}, {"image": IMAGE, "duration": 5}, {"image": IMAGE, "mode": 5},
        ),
    },
    "videos/lip-sync": {
        "input": (
            *_in(_SPOKEN, "text", "", "x" * 120, "x" * 121, None, 5), *_in(_SPOKEN, "mode", "audio2video", "x", None),
            *_in(_SPOKEN, "voice_id", "", None, 5), *_in(_SPOKEN, "voice_language", "zh", "en", "de", "", None),
            *_in(_SPOKEN, "voice_speed", 0.8, 2, 0.79, 2.01, "1"), *_in(_SPOKEN, "video_id", *_IDS),
            *_in(_SPOKEN, "video_url", VIDEO, "", "x"),
            *({"mode": "text2video", "text": "a", "voice_id": "v", "video_url": one} for one in (VIDEO, "x", 5)),
        ),
    },
    "videos/advanced-lip-sync": {
        "session_id": _IDS,
        "face_choose": (
            *_listed(_FACE, 1), *_one(*_in(_FACE, "face_id", *_IDS)), *_one(*_in(_FACE, "audio_id", *_IDS)),
            *_one(*_in(_FACE, "sound_file", SOUND, "aGVsbG8=", "")),
            *(one for name in ("sound_start_time", "sound_end_time", "sound_insert_time")
              for one in _one(*_in(_FACE, name, *_TIMES))),
            *(one for name in ("sound_volume", "original_audio_volume")
              for one in _one(*_in(_FACE, name, 0, 2, 2.1, -0.1, "1"))),
            [{key: value for key, value in _FACE.items() if key != "audio_id"} | {"sound_file": "no way"}],
        ),
    },
    "images/omni-image": {
        "prompt": _LENGTHS, "image_list": _PICTURES, "element_list": _ELEMENTS, "resolution": ("1k", "2k", "4k", "8k"),
        "result_type": ("single", "series", "set"), "n": _COUNTS, "series_amount": _COUNTS, "aspect_ratio": RATIOS,
    },
    "images/generations": {
        "prompt": _LENGTHS, "negative_prompt": _LENGTHS, "image": _MEDIA, "image_reference": ("subject", "face", "x"),
        "image_fidelity": _FRACTIONS, "human_fidelity": _FRACTIONS, "element_list": _ELEMENTS,
        "resolution": ("1k", "2k", "4k"), "n": _COUNTS, "aspect_ratio": RATIOS,
    },
    "images/multi-image2image": {
        "prompt": _LENGTHS, "scene_image": _MEDIA, "style_image": _MEDIA, "n": _COUNTS, "aspect_ratio": RATIOS,
        "subject_image_list": (*_listed({"subject_image": IMAGE}, 4), *_one(*({"subject_image": m} for m in _MEDIA))),
    },
    "images/kolors-virtual-try-on": {"human_image": _MEDIA, "cloth_image": _MEDIA},
    "images/editing/expand": {
        "image": _MEDIA, "prompt": _LENGTHS, "n": _COUNTS,
        **dict.fromkeys(_SPREAD, (0, 2, 2.01, -0.01, 0.5, 1, "0.5")),
    },
    "audio/text-to-audio": {"prompt": _LENGTHS, "duration": (2.9, 3, 3.0, 10, 10.0, 10.1, "5", 5.55)},
    "audio/video-to-audio": {
        "video_id": _IDS, "video_url": (VIDEO, "x", "aGVsbG8="), "sound_effect_prompt": _LENGTHS,
        "bgm_prompt": _LENGTHS, "asmr_mode": (True, False, "true", 1),
    },
}  # fmt: skip


def values_of(family: str) -> dict[str, tuple[Any, ...]]:
    """Every field of a family with what it is tried with; a field of the family's own wins over a common one."""
    fields = {**_COMMON, **VALUES[family]}
    return {name: (*values, *ODD) for name, values in fields.items()}


def changed(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Body:
    """`body` with some fields set, and those that are to be absent left out."""
    return {name: value for name, value in {**body, **changes}.items() if value is not ABSENT}


def neighbours(family: str) -> list[Body]:
    """The good bodies of a family, and each with every value in every one field."""
    fields = values_of(family)
    return [
        changed(good, change)
        for good in GOOD[family]
        for change in ({}, *({name: value} for name, values in fields.items() for value in values))
    ]


@st.composite
def asked(draw: st.DrawFn) -> tuple[str, Body]:
    """A family, and a body of it with up to four fields at their boundaries."""
    family = draw(st.sampled_from(sorted(GOOD)))
    fields = values_of(family)
    names = draw(st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True))
    changes = {name: draw(st.sampled_from(fields[name])) for name in names}
    return family, changed(draw(st.sampled_from(GOOD[family])), changes)
