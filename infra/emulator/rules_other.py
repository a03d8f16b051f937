"""Rules of the remaining families (R120..R127)."""

from collections.abc import Mapping

from infra.emulator.ask import Ask
from infra.emulator.rule import Rule, at_most, enum, fraction, just_one, no_longer

_EDITS = {"addition": (1, 2), "swap": (1, 1), "removal": (0, 0)}
_RATIOS = ("16:9", "9:16", "1:1")
_DURATION = Rule("R122", enum("duration", "5", "10"))
_MODE = Rule("R122", enum("mode", "std", "pro"))


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
    if not isinstance(value, Mapping):
        return f"{key} can not be null"
    if key == "element_video_list":
        videos = value.get("refer_videos")
        return None if isinstance(videos, list) and len(videos) == 1 else "refer_videos must have 1 entry"
    images = value.get("refer_images")
    good = value.get("frontal_image") and isinstance(images, list) and 1 <= len(images) <= 3
    return None if good else "element_image_list is invalid"


def _effect(ask: Ask) -> str | None:
    """R127, without the table of scenes: one image, or two."""
    value = ask.get("input")
    if not isinstance(value, Mapping):
        return "input must be an object"
    images = value.get("images")
    if images:
        return None if isinstance(images, list) and len(images) == 2 else "images must have 2 entries"
    return None if value.get("image") else "image can not be null"


OF_FAMILY = {
    "videos/multi-image2video": (
        Rule("R122", at_most("image_list", 4, 1)),
        Rule("R122", enum("aspect_ratio", *_RATIOS)),
        _MODE,
        _DURATION,
    ),
    "videos/multi-elements": (
        Rule("R123", enum("edit_mode", *_EDITS)),
        Rule("R123", _edit),
        _MODE,
        _DURATION,
    ),
    "videos/avatar/image2video": (Rule("R120", just_one("audio_id", "sound_file")), _MODE),
    "videos/effects": (Rule("R127", _effect),),
    "videos/motion-control": (
        Rule("R121", enum("character_orientation", "image", "video")),
        Rule("R121", enum("keep_original_sound", "yes", "no")),
        Rule("R121", at_most("element_list", 1)),
        Rule("R121", _orientation),
        _MODE,
    ),
    "audio/text-to-audio": (Rule("R125", fraction("duration", 3, 10)), Rule("R125", no_longer("prompt", 200))),
    "audio/video-to-audio": (
        Rule("R120", just_one("video_id", "video_url")),
        Rule("R125", no_longer("sound_effect_prompt", 200)),
        Rule("R125", no_longer("bgm_prompt", 200)),
    ),
    "general/advanced-custom-elements": (
        Rule("R126", no_longer("element_name", 20)),
        Rule("R126", no_longer("element_description", 100)),
        Rule("R126", enum("reference_type", "image_refer", "video_refer")),
        Rule("R126", _element),
    ),
    "general/custom-voices": (
        Rule("R120", just_one("voice_url", "video_id")),
        Rule("R126", no_longer("voice_name", 20)),
    ),
}
