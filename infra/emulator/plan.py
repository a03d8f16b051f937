"""Decides what a result looks like: its size, its length, its shots. Pure: values in, values out."""

import re
from dataclasses import replace
from pathlib import Path

from infra.emulator.ask import Ask
from infra.emulator.canvas import Sheet
from infra.emulator.film import RATE, Film, Shot
from infra.emulator.inputs import Footage, Inputs, Picture

#: Mode -> short side of the picture.
_SHORT = {"std": 720, "pro": 1080, "4k": 2160}
_RESOLUTION = {"1k": 1024, "2k": 2048, "4k": 4096}
#: Families whose videos are as long as the video that they are given.
_AS_LONG = {"videos/motion-control", "videos/lip-sync"}
_EXTENSION_SECONDS = 5.0
_RATIO = re.compile(r"([1-9]\d?):([1-9]\d?)", re.ASCII)
MARK = "KLING AI (emulated)"


def film(ask: Ask, inputs: Inputs) -> Film:
    """The film of a video task."""
    width, height = size(ask, inputs)
    behind = _behind(ask, inputs)
    shots = tuple(
        Shot(round(seconds * RATE), Sheet(width, height, title, text, behind))
        for seconds, title, text in _script(ask, length(ask, inputs))
    )
    return Film(shots, _sounds(ask, inputs))


def marked(plain: Film) -> Film:
    """The same film with a watermark."""
    shots = (replace(shot, sheet=replace(shot.sheet, mark=MARK)) for shot in plain.shots)
    return replace(plain, shots=tuple(shots))


def length(ask: Ask, inputs: Inputs) -> float:
    """Seconds of the result: those of a base video (R049), else those asked for."""
    footage = inputs.footage[0] if inputs.footage else None
    if footage and (ask.video_type == "base" or ask.family.path in _AS_LONG or ask.family.kind == "audio"):
        return footage.seconds
    if footage and ask.family.path == "videos/video-extend":
        return footage.seconds + _EXTENSION_SECONDS
    return ask.duration


def size(ask: Ask, inputs: Inputs) -> tuple[int, int]:
    """Width and height of a video: a frame's or a base video's ratio, else `aspect_ratio`, scaled to the mode."""
    short = 720 if ask.model == "kling-v1" else _SHORT.get(ask.mode, 720)
    ratio = _ratio(ask, inputs)
    long = round(short * max(ratio, 1 / ratio) / 2) * 2
    return (long, short) if ratio >= 1 else (short, long)


def _ratio(ask: Ask, inputs: Inputs) -> float:
    follows_video = inputs.footage and (ask.video_type == "base" or ask.family.path in _AS_LONG)
    if follows_video:
        return inputs.footage[0].width / inputs.footage[0].height
    first = _first_frame(ask, inputs)
    if first:
        return first.width / first.height
    asked = ask.text("aspect_ratio")
    if not asked and inputs.footage:
        return inputs.footage[0].width / inputs.footage[0].height
    return ratio_of(asked or "16:9")


#: Families that have no `aspect_ratio`: the output follows the first image.
_FOLLOWING = {"videos/image2video", "videos/effects", "videos/avatar/image2video", "images/editing/expand"}


def ratio_of(text: str) -> float:
    """Width by height of "4:3"; of 16:9 for what a family without `aspect_ratio` was sent as surplus."""
    match = _RATIO.fullmatch(text)
    return int(match[1]) / int(match[2]) if match else 16 / 9


def _behind(ask: Ask, inputs: Inputs) -> Path | None:
    footage = inputs.footage[0] if inputs.footage else None
    if footage and footage.still:
        return footage.still.path
    first = _first_frame(ask, inputs)
    return first.path if first else None


def _first_frame(ask: Ask, inputs: Inputs) -> Picture | None:
    """The image that a video begins with, if it has one."""
    if "first_frame" in ask.frames:
        rows = enumerate(ask.rows("image_list"))
        return next(inputs.pictures[place] for place, row in rows if row.get("type") == "first_frame")
    return inputs.pictures[0] if inputs.pictures and ask.family.path in _FOLLOWING else None


def _script(ask: Ask, seconds: float) -> list[tuple[float, str, str]]:
    """Seconds, title and text of each shot; an edited video keeps its own cuts."""
    title = " | ".join(filter(None, (ask.family.path, ask.model, ask.mode)))
    if not ask.customized or ask.video_type == "base":
        return [(seconds, title, " / ".join(ask.prompts) or "(no prompt)")]
    shots = ask.rows("multi_prompt")
    return [
        (float(shot["duration"]), f"{title} | shot {number} of {len(shots)}", str(shot["prompt"]))
        for number, shot in enumerate(shots, 1)
    ]


def _sounds(ask: Ask, inputs: Inputs) -> bool:
    default = "yes" if ask.family.path in _AS_LONG else "no"
    kept = any(_keeps(row) for row in ask.rows("video_list")) or ask.text("keep_original_sound", default) == "yes"
    return ask.sound or bool(ask.media("sounds")) or (kept and _has_sound(inputs.footage))


def _keeps(row: object) -> bool:
    return isinstance(row, dict) and row.get("keep_original_sound") == "yes"


def _has_sound(footage: tuple[Footage, ...]) -> bool:
    return any(one.sounds for one in footage)


def sheets(ask: Ask, inputs: Inputs) -> list[Sheet]:
    """The images of an image task."""
    width, height = _image_size(ask, inputs)
    title = " | ".join(filter(None, (ask.family.path, ask.model)))
    behind = inputs.pictures[0].path if inputs.pictures else None
    text = ask.text("prompt") or "(no prompt)"
    return [
        Sheet(width, height, f"{title} | {number} of {ask.count}", text, behind) for number in range(1, ask.count + 1)
    ]


def _image_size(ask: Ask, inputs: Inputs) -> tuple[int, int]:
    """About resolution squared pixels, both sides divisible by 8."""
    side = _RESOLUTION.get(ask.text("resolution", "1k"), 1024)
    first = inputs.pictures[0] if inputs.pictures else None
    if ask.family.path == "images/editing/expand" and first:
        return _expanded(ask, first.width, first.height)
    asked = ask.text("aspect_ratio", "auto" if first else "1:1" if ask.family.path == "images/omni-image" else "16:9")
    ratio = first.width / first.height if first and asked == "auto" else ratio_of(asked if asked != "auto" else "1:1")
    return round(side * ratio**0.5 / 8) * 8, round(side / ratio**0.5 / 8) * 8


def _expanded(ask: Ask, width: int, height: int) -> tuple[int, int]:
    up, down, left, right = (float(ask.get(f"{side}_expansion_ratio", 0)) for side in ("up", "down", "left", "right"))
    return round(width * (1 + left + right)), round(height * (1 + up + down))
