"""Rules of text2video and image2video: R060 to R091. Source: spec sections 2.7 and 3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from worker.kling.capabilities import THREE_TO_FIFTEEN
from worker.kling.editions import NEWEST
from worker.kling.rule import Found, Miss, Rules, Seen, one_of

VIDEO = Rules()
_TEXT = ("videos/text2video",)
_IMAGE = ("videos/image2video",)
_BOTH = (*_TEXT, *_IMAGE)
_CAMERAS = ("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward")
_AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")


@VIDEO.rule("R062", _TEXT, "duration is 5 or 10; 3 to 15 on kling-v3.", "DOC A, B")
def _duration(seen: Seen) -> Found:
    durations = seen.can.durations if seen.can else THREE_TO_FIFTEEN
    if seen.duration in durations:
        return None
    return Miss("duration", seen.request.duration, f"{one_of(durations)}, as a string, with {seen.model}")


@VIDEO.rule("R063", _TEXT, "mode is std or pro; 4k too on kling-v3 since mid-2026.", "DOC A, B; B2i for 4k")
def _mode(seen: Seen) -> Found:
    four_k = seen.edition == NEWEST and seen.can is not None and seen.can.four_k
    modes = ("std", "pro", "4k") if four_k else ("std", "pro")
    return None if seen.mode in modes else Miss("mode", seen.request.mode, one_of(modes))


@VIDEO.rule("R064", _TEXT, "sound is on or off, and on works with kling-v2-6 in pro and with kling-v3.", "DOC map; OBS")
def _sound(seen: Seen) -> Found:
    sound = seen.request.sound
    if sound in (None, "", "off"):
        return None
    if sound != "on":
        return Miss("sound", sound, one_of(("on", "off")))
    if seen.can is None or seen.mode in seen.can.sound:
        return None
    return Miss("sound", "on", f"model/mode({seen.model}/{seen.mode}) is not supported with sound on")


@VIDEO.rule("R065", _TEXT, "cfg_scale lies between 0 and 1.", "DOC A, B")
def _scale(seen: Seen) -> Found:
    scale = seen.request.cfg_scale
    return None if scale is None or 0 <= scale <= 1 else Miss("cfg_scale", scale, "must be a number from 0 to 1")


@VIDEO.rule(
    "R065",
    _TEXT,
    "cfg_scale has no effect on kling-v2 models.",
    "DOC B; AMB: gateways always send it",
    lenient=True,
)
def _scale_model(seen: Seen) -> Found:
    if seen.request.cfg_scale is None or seen.can is None or seen.can.cfg_scale:
        return None
    return Miss("cfg_scale", seen.request.cfg_scale, f"will be ignored by {seen.model}")


#: The reference numbers the same rules once more for image2video.
for _of_text in [row for row in VIDEO.rows if row.families == _TEXT]:
    VIDEO.rows.append(replace(_of_text, id="R091", families=_IMAGE, source=f"{_of_text.source}; as {_of_text.id}"))


@VIDEO.rule("R066", _TEXT, "camera_control works with kling-v1 in std at 5 s.", "DOC map (A, B)", when="camera_control")
def _camera_model(seen: Seen) -> Found:
    if seen.request.camera_control is None or (seen.model, seen.mode, seen.duration) == ("kling-v1", "std", "5"):
        return None
    return Miss("camera_control", f"{seen.model}/{seen.mode}/{seen.duration}", "is supported by kling-v1/std/5 only")


@VIDEO.rule(
    "R067",
    _BOTH,
    "A simple camera moves along one axis only, by -10 to 10; others take no config.",
    "DOC A, B",
    when="camera_control",
)
def _camera(seen: Seen) -> Found:
    camera = seen.request.camera_control
    if camera is None:
        return None
    if camera.type not in _CAMERAS:
        return Miss("camera_control.type", camera.type, one_of(_CAMERAS))
    named = camera.config is not None and bool(camera.config.model_fields_set)
    if camera.type != "simple":
        if not named:
            return None
        return Miss("camera_control.config", camera.config, "must be left out unless the type is simple")
    values = _axes(camera) if named else {}
    if not named or sum(value != 0 for value in values.values()) > 1:
        return Miss("camera_control.config", camera.config and values, "must name one axis that is not 0")
    return [
        Miss(f"camera_control.config.{axis}", value, "must lie between -10 and 10")
        for axis, value in values.items()
        if not -10 <= value <= 10
    ]


@VIDEO.advice(
    "R067",
    _BOTH,
    "Whether a simple camera may stand still is disputed.",
    "AMB: DOC A, B say one axis; ComfyUI asks for at least one",
    when="camera_control",
)
def _still_camera(seen: Seen) -> Found:
    camera = seen.request.camera_control
    if camera is None or camera.type != "simple" or camera.config is None or any(_axes(camera).values()):
        return None
    return Miss("camera_control.config", _axes(camera), "may be refused: one axis should not be 0")


def _axes(camera: Any) -> dict[str, float]:
    return {axis: getattr(camera.config, axis, None) or 0 for axis in _AXES}


@VIDEO.rule("R068", _TEXT, "aspect_ratio is 16:9, 9:16 or 1:1.", "DOC A, B")
def _ratio(seen: Seen) -> Found:
    if seen.request.aspect_ratio in (None, "", "16:9", "9:16", "1:1"):
        return None
    return Miss("aspect_ratio", seen.request.aspect_ratio, one_of(("16:9", "9:16", "1:1")))


def _too_many_voices(seen: Seen) -> list[Miss]:
    voices = seen.request.voice_list
    if not voices:
        return []
    misses = [
        Miss(f"voice_list[{number}].voice_id", voice.voice_id, "must be a voice's id")
        for number, voice in enumerate(voices)
        if voice.voice_id in (None, "")
    ]
    if len(voices) > 2:
        misses.append(Miss("voice_list", voices, "must hold at most 2 voices"))
    if not seen.sound:
        misses.append(Miss("sound", seen.request.sound, "must be on when voice_list is used"))
    return misses


@VIDEO.rule("R069", _TEXT, "At most 2 voices, with sound on.", "DOC A", when="voice_list")
def _voices(seen: Seen) -> Found:
    return _too_many_voices(seen)


@VIDEO.rule(
    "R081", _IMAGE, "There is an image, or an image_tail on kling-v1-5 and kling-v1-6 in pro.", "DOC A, B, map; OBS"
)
def _image(seen: Seen) -> Found:
    request = seen.request
    if request.image:
        return None
    if not request.image_tail:
        return Miss("image", request.image, "image can not be null: send a URL or raw base64")
    if seen.can is None or (seen.can.tail_only and seen.mode == "pro"):
        return None
    return Miss(
        "image", request.image, "is required: image_tail alone works with kling-v1-5 and kling-v1-6 in pro only"
    )


@VIDEO.rule("R082", _IMAGE, "image_tail, masks and camera_control exclude each other.", "DOC A, B")
def _exclusive(seen: Seen) -> Found:
    request = seen.request
    used = [
        name
        for name, there in (
            ("image_tail", request.image_tail),
            ("static_mask", request.static_mask or request.dynamic_masks),
            ("camera_control", request.camera_control),
        )
        if there
    ]
    return Miss(used[1], " and ".join(used), f"cannot be combined with {used[0]}") if len(used) > 1 else None


@VIDEO.rule(
    "R083",
    _IMAGE,
    "image_tail works with some combinations of model, mode and duration.",
    "DOC map; OBS",
    when="image_tail",
)
def _tail(seen: Seen) -> Found:
    if not seen.request.image_tail or seen.can is None:
        return None
    combination = f"model/mode/duration({seen.model}/{seen.mode}/{seen.duration})"
    if seen.mode not in seen.can.image_tail or seen.duration not in seen.can.image_tail_seconds:
        return Miss("image_tail", "a last frame", f"{combination} is not supported with image_tail")
    if seen.sound and seen.can.tail_silent:
        return Miss("sound", "on", f"must be off with image_tail on {seen.model}")
    return None


@VIDEO.rule("R084", _IMAGE, "Masks work with kling-v1, and with kling-v1-5 in pro, at 5 s.", "DOC map")
def _mask_model(seen: Seen) -> Found:
    request = seen.request
    if not (request.static_mask or request.dynamic_masks) or seen.can is None:
        return None
    if seen.mode in seen.can.masks and seen.duration == "5":
        return None
    name = "static_mask" if request.static_mask else "dynamic_masks"
    return Miss(
        name, f"{seen.model}/{seen.mode}/{seen.duration}", "is supported by kling-v1 and kling-v1-5/pro at 5 s only"
    )


@VIDEO.rule(
    "R084",
    _IMAGE,
    "There are at most 6 dynamic masks, each with a mask and 2 to 77 points.",
    "DOC A, B",
    when="dynamic_masks",
)
def _masks(seen: Seen) -> Found:
    masks = seen.request.dynamic_masks
    if not masks:
        return None
    misses = [Miss("dynamic_masks", masks, "must hold at most 6 masks")] if len(masks) > 6 else []
    for number, one in enumerate(masks):
        if not one.mask:
            misses.append(Miss(f"dynamic_masks[{number}].mask", one.mask, "must be a URL or base64, not empty"))
        if not 2 <= len(one.trajectories or ()) <= 77:
            path = f"dynamic_masks[{number}].trajectories"
            misses.append(Miss(path, one.trajectories, "must hold 2 to 77 points"))
    return misses


@VIDEO.rule(
    "R085", _IMAGE, "camera_control works with kling-v1-5 in pro at 5 s, simple only.", "DOC map", when="camera_control"
)
def _image_camera(seen: Seen) -> Found:
    camera = seen.request.camera_control
    if camera is None:
        return None
    if (seen.model, seen.mode, seen.duration) != ("kling-v1-5", "pro", "5"):
        found = f"{seen.model}/{seen.mode}/{seen.duration}"
        return Miss("camera_control", found, "is supported by kling-v1-5/pro/5 only")
    return None if camera.type == "simple" else Miss("camera_control.type", camera.type, "must be simple")


@VIDEO.rule("R086", _IMAGE, "element_list works with kling-v3, at most 3.", "DOC A, B, map", when="element_list")
def _elements(seen: Seen) -> Found:
    elements = seen.request.element_list
    if not elements:
        return None
    if seen.can is not None and not seen.can.elements:
        return Miss("element_list", elements, "is supported by kling-v3 only")
    return Miss("element_list", elements, "must hold at most 3 elements") if len(elements) > 3 else None


@VIDEO.rule(
    "R087",
    _IMAGE,
    "element_list and voice_list exclude each other.",
    "DOC A, B, B2i; AMB: a sample uses both",
    when="voice_list",
)
def _elements_or_voices(seen: Seen) -> Found:
    if not seen.request.element_list or not seen.request.voice_list:
        return None
    return Miss("voice_list", seen.request.voice_list, "cannot be combined with element_list")


@VIDEO.rule(
    "R088", _IMAGE, "At most 2 voices, with sound on, on kling-v2-6 in pro.", "DOC map, A, B", when="voice_list"
)
def _image_voices(seen: Seen) -> Found:
    voices = seen.request.voice_list
    if not voices:
        return None
    misses = _too_many_voices(seen)
    if seen.can is not None and seen.mode not in seen.can.voices and seen.model != "kling-v3":
        misses.append(Miss("voice_list", f"{seen.model}/{seen.mode}", "is supported by kling-v2-6/pro only"))
    return misses


@VIDEO.advice(
    "R088",
    _IMAGE,
    "Whether kling-v3 takes voices is disputed.",
    "AMB: map says no, changelog and price list yes",
    when="voice_list",
)
def _v3_voices(seen: Seen) -> Found:
    if not seen.request.voice_list or seen.model != "kling-v3":
        return None
    return Miss("voice_list", seen.request.voice_list, "may be refused: the capability map denies it for kling-v3")


@VIDEO.rule("R090", _IMAGE, "kling-v3 needs a prompt unless it is told shot by shot.", "DOC A, B, B2i")
def _prompt(seen: Seen) -> Found:
    if seen.multi or seen.request.prompt or seen.model != "kling-v3":
        return None
    return Miss("prompt", seen.request.prompt, "must not be empty unless multi_shot is true")


@VIDEO.advice(
    "R090", _IMAGE, "Whether older models need a prompt is disputed.", "AMB: A, B, B2i against older docs and S3"
)
def _old_prompt(seen: Seen) -> Found:
    if seen.multi or seen.request.prompt or seen.model == "kling-v3":
        return None
    return Miss("prompt", seen.request.prompt, "may be required by this model")
