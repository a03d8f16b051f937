"""Rules of the remaining families (R120..R127)."""

from collections.abc import Mapping
from typing import Any

from infra.emulator.ask import Ask
from infra.emulator.families import values_at
from infra.emulator.rule import Check, Rule, at_most, digits, enum, fraction, just_one, no_longer, one_present

_EDITS = {"addition": (1, 2), "swap": (1, 1), "removal": (0, 0)}
_RATIOS = ("16:9", "9:16", "1:1")
_SOUND_MS = 2000
_MODE = Rule("R122", enum("mode", "std", "pro"))


def _duration(ask: Ask) -> str | None:
    """R122, R123; a number for a string is let in (R008)."""
    value = ask.get("duration", "5")
    return None if str(value) in {"5", "10"} else f"duration value '{value}' is invalid"


def _duration_text(ask: Ask) -> str | None:
    return "duration must be a string" if isinstance(ask.get("duration"), int) else None


_DURATION = (Rule("R122", _duration), Rule("R008", _duration_text, strict=True))


def _pictured(ask: Ask) -> str | None:
    found = len(list(values_at(ask.body, "image_list[].image")))
    return None if found == len(ask.rows("image_list")) else "image can not be null"


def _orientation(ask: Ask) -> str | None:
    """R121."""
    wrong = ask.rows("element_list") and ask.text("character_orientation") != "video"
    return "character_orientation must be video with element_list" if wrong else None


def _edit(ask: Ask) -> str | None:
    """R123."""
    least, most = _EDITS[ask.text("edit_mode")]
    count = len(ask.rows("image_list"))
    return None if least <= count <= most else f"image_list must have {least} to {most} entries for this edit_mode"


def _element(ask: Ask) -> str | None:
    """R126."""
    key = "element_image_list" if ask.text("reference_type") == "image_refer" else "element_video_list"
    value = ask.get(key)
    if not value:
        return f"{key} can not be null"
    if key == "element_video_list":
        return None if len(value.get("refer_videos") or ()) == 1 else "refer_videos must have 1 entry"
    good = value.get("frontal_image") and 1 <= len(value.get("refer_images") or ()) <= 3
    return None if good else "element_image_list is invalid"


def _effect(ask: Ask) -> str | None:
    """R127, without the table of scenes: one image, or two."""
    value = ask.get("input")
    images = value.get("images")
    if images:
        return None if len(images) == 2 else "images must have 2 entries"
    return None if value.get("image") else "image can not be null"


def _lip_sync(ask: Ask) -> str | None:
    """R120: one video, and words or a sound."""
    said = ask.get("input")
    mode = said.get("mode")
    if mode not in ("text2video", "audio2video"):
        return f"mode value '{mode}' is invalid"
    return one_present(said, "video_id", "video_url") or (_words(said) if mode == "text2video" else None)


def _words(said: Mapping[str, Any]) -> str | None:
    if not said.get("text") or not said.get("voice_id"):
        return "text and voice_id can not be null"
    if len(said["text"]) > 120:
        return "text must not exceed 120 characters"
    if (said.get("voice_language") or "zh") not in ("zh", "en"):
        return f"voice_language value '{said['voice_language']}' is invalid"
    speed = said.get("voice_speed")
    return None if speed is None or 0.8 <= speed <= 2 else "voice_speed must be between 0.8 and 2"


def _face(ask: Ask) -> str | None:
    """R120: one face, one sound for it, cut to two seconds or more."""
    faces = ask.rows("face_choose")
    if len(faces) != 1:
        return "face_choose must have 1 entry"
    face = faces[0]
    if face.get("face_id") in (None, ""):
        return "face_id can not be null"
    return one_present(face, "audio_id", "sound_file") or _cut(face) or _volumes(face)


def _cut(face: Mapping[str, Any]) -> str | None:
    start, end, insert = (digits(face.get(f"sound_{what}_time")) for what in ("start", "end", "insert"))
    if start is None or end is None or insert is None:
        return "sound_start_time, sound_end_time and sound_insert_time must be milliseconds"
    return None if end - start >= _SOUND_MS else "the sound must last 2 seconds or more"


def _volumes(face: Mapping[str, Any]) -> str | None:
    volumes = (face.get(name) for name in ("sound_volume", "original_audio_volume"))
    good = all(0 <= volume <= 2 for volume in volumes if volume is not None)
    return None if good else "volumes must be between 0 and 2"


def _of(*checks: Check, number: str) -> tuple[Rule, ...]:
    return tuple(Rule(number, check) for check in checks)


OF_FAMILY = {
    "videos/multi-image2video": (
        *_of(at_most("image_list", 4, 1), _pictured, enum("aspect_ratio", *_RATIOS), number="R122"),
        _MODE,
        *_DURATION,
    ),
    "videos/multi-elements": (
        *_of(enum("edit_mode", *_EDITS), _edit, _pictured, number="R123"),
        _MODE,
        *_DURATION,
    ),
    "videos/avatar/image2video": (Rule("R120", just_one("audio_id", "sound_file")), _MODE),
    "videos/effects": (Rule("R127", _effect),),
    "videos/lip-sync": (Rule("R120", _lip_sync),),
    "videos/advanced-lip-sync": (Rule("R120", _face),),
    "videos/video-extend": (Rule("R065", fraction("cfg_scale", 0, 1)),),
    "videos/motion-control": (
        *_of(
            enum("character_orientation", "image", "video"),
            enum("keep_original_sound", "yes", "no"),
            at_most("element_list", 1),
            _orientation,
            number="R121",
        ),
        _MODE,
    ),
    "audio/text-to-audio": _of(fraction("duration", 3, 10), no_longer("prompt", 200), number="R125"),
    "audio/video-to-audio": (
        Rule("R120", just_one("video_id", "video_url")),
        *_of(no_longer("sound_effect_prompt", 200), no_longer("bgm_prompt", 200), number="R125"),
    ),
    "general/advanced-custom-elements": _of(
        no_longer("element_name", 20),
        no_longer("element_description", 100),
        enum("reference_type", "image_refer", "video_refer"),
        _element,
        number="R126",
    ),
    "general/custom-voices": (
        Rule("R120", just_one("voice_url", "video_id")),
        Rule("R126", no_longer("voice_name", 20)),
    ),
}
