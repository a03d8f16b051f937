"""Rules of omni-video (R020..R057), text2video (R060..R069) and image2video (R080..R091)."""

from infra.emulator.ask import Ask
from infra.emulator.config import Edition
from infra.emulator.families import values_at
from infra.emulator.rule import Check, Rule, at_most, digits, enum, fraction
from infra.emulator.rules_camera import camera, masks

_O1, _OMNI, _V3 = "kling-video-o1", "kling-v3-omni", "kling-v3"
_FEBRUARY, _MARCH = frozenset({Edition.FEBRUARY}), frozenset({Edition.MARCH})
_SINCE_MARCH = frozenset({Edition.MARCH, Edition.JUNE})
_BEFORE_JUNE, _JUNE = frozenset({Edition.FEBRUARY, Edition.MARCH}), frozenset({Edition.JUNE})
_RATIOS = ("16:9", "9:16", "1:1")
#: Model -> modes in which image_tail works beside image (R083); v3 takes all.
_TAIL_MODES = {
    "kling-v1": {"std", "pro"}, "kling-v1-5": {"pro"}, "kling-v1-6": {"pro"}, "kling-v2-1": {"pro"},
    "kling-v2-5-turbo": {"pro"}, "kling-v2-6": {"pro"}, _V3: {"std", "pro", "4k"},
}  # fmt: skip


def _prompt(ask: Ask) -> str | None:
    """R021, R026. Kling's older image2video models take an image without words (R090)."""
    wordless = ask.family.path == "videos/image2video" and ask.model != _V3
    return None if ask.customized or wordless or ask.text("prompt") else "prompt can not be null"


def _shot_type(ask: Ask) -> str | None:
    return "shot_type can not be null" if ask.multi_shot and ask.get("shot_type") is None else None


def _multi_shot(ask: Ask) -> str | None:
    value = ask.get("multi_shot", False)
    return None if isinstance(value, bool) or value in ("true", "false") else "multi_shot must be a boolean"


def _shot_types(*allowed: str) -> Check:
    def check(ask: Ask) -> str | None:
        bad = ask.multi_shot and ask.get("shot_type") not in allowed
        return f"shot_type value '{ask.get('shot_type')}' is invalid" if bad else None

    return check


def _multi_shot_model(ask: Ask) -> str | None:
    able = ask.model in {_OMNI, _V3}
    return None if able or not ask.multi_shot else f"model({ask.model}) is not supported with multi_shot"


def _shots(ask: Ask) -> str | None:
    """R025, R027..R030; how shots are numbered (R031) is nobody's rule."""
    if not ask.customized:
        return None
    rows = ask.rows("multi_prompt")
    if not 1 <= len(rows) <= 6:
        return "multi_prompt must have 1 to 6 entries"
    return _shot_texts(ask) or _shot_seconds(ask)


def _shot_texts(ask: Ask) -> str | None:
    texts = [row.get("prompt") for row in ask.rows("multi_prompt")]
    if not all(texts):
        return "multi_prompt prompt can not be null"
    return "multi_prompt prompt must not exceed 512 characters" if any(len(text) > 512 for text in texts) else None


def _shot_seconds(ask: Ask) -> str | None:
    seconds = [row.get("duration") for row in ask.rows("multi_prompt")]
    numbers = [digits(value) or 0 for value in seconds]
    if not all(numbers):
        return "multi_prompt duration is invalid"
    # A base video settles the length (R049), so there is nothing that the sum could be measured by.
    if ask.video_type != "base" and sum(numbers) != int(ask.duration):
        return "the sum of multi_prompt durations must equal duration"
    return None


def _shots_and_frames(ask: Ask) -> str | None:
    """R033, R089: said in one edition only."""
    framed = ask.frames or ask.get("image_tail")
    return "multi_shot is not supported with first or end frame" if ask.multi_shot and framed else None


def _image_rows(ask: Ask) -> str | None:
    """R034..R036."""
    rows = ask.rows("image_list")
    if len(list(values_at(ask.body, "image_list[].image_url"))) != len(rows):
        return "image_url can not be null"
    types = [row["type"] for row in rows if row.get("type") is not None]
    if any(kind not in {"first_frame", "end_frame"} for kind in types):
        return "image_list type is invalid"
    if "end_frame" in types and "first_frame" not in types:
        return "end_frame is not supported without first_frame"
    return "only one first_frame and one end_frame are supported" if len(set(types)) != len(types) else None


def _frames_and_base(ask: Ask) -> str | None:
    """R037: and `base` is the default."""
    both = ask.video_type == "base" and ask.frames
    return "first_frame and end_frame are not supported with a base video" if both else None


def _end_frame_alone(ask: Ask) -> str | None:
    """R038."""
    crowded = "end_frame" in ask.frames and len(ask.rows("image_list")) > 2
    return "end_frame is not supported with more than 2 images" if crowded else None


def _end_frame_alone_o1(ask: Ask) -> str | None:
    return _end_frame_alone(ask) if ask.model == _O1 else None


def _references(ask: Ask) -> str | None:
    """R039, R040."""
    count = len(ask.rows("image_list")) + len(ask.rows("element_list"))
    most = 4 if ask.video_type else 7
    return f"the number of images and elements must not exceed {most}" if count > most else None


def _frame_elements(ask: Ask) -> str | None:
    """R042."""
    most = 0 if ask.model == _O1 and len(ask.frames) == 2 else 3
    too_many = ask.frames and len(ask.rows("element_list")) > most
    return f"the number of elements must not exceed {most} with first or end frame" if too_many else None


def _characters(ask: Ask) -> str | None:
    """R041, R044: where elements must be made of images."""
    if not ask.character_count:
        return None
    if ask.model == _O1:
        return f"model({ask.model}) is not supported with video character elements"
    return "video character elements are not supported with video_list" if ask.video_type else None


def _many_characters(ask: Ask) -> str | None:
    """R043."""
    count = ask.character_count
    if not count or ask.video_type:
        return None
    others = len(ask.rows("image_list")) + len(ask.rows("element_list")) - count
    return "the number of video character elements is over limit" if count > 3 or others > 4 else None


def _video_rows(ask: Ask) -> str | None:
    """R045..R047."""
    rows = ask.rows("video_list")
    if len(rows) > 1:
        return "video_list must have at most 1 entry"
    for row in rows:
        if not row.get("video_url"):
            return "Video URL is invalid"
        if (row.get("refer_type") or "base") not in ("feature", "base"):
            return f"refer_type value '{row['refer_type']}' is invalid"
        if (row.get("keep_original_sound") or "no") not in ("yes", "no"):
            return f"keep_original_sound value '{row['keep_original_sound']}' is invalid"
    return None


def _silent_video(ask: Ask) -> str | None:
    return "sound on is not supported with video_list" if ask.video_type and ask.sound else None


def _duration(ask: Ask) -> str | None:
    """R049, R053, R062. A base video settles its own length. A number for a string is let in (R008)."""
    if ask.video_type == "base":
        return None
    value = ask.get("duration", "5")
    allowed = range(3, 16) if ask.model in {_V3, _OMNI} else range(3, 11) if ask.model == _O1 else (5, 10)
    if str(value) in map(str, allowed):
        return None
    return f"duration value '{value}' is invalid"


def _duration_text(ask: Ask) -> str | None:
    values = [ask.get("duration"), *values_at(ask.body, "multi_prompt[].duration")]
    return "duration must be a string" if any(isinstance(value, int) for value in values) else None


def _scale_v2(ask: Ask) -> str | None:
    """R065: documented as unsupported, and sent by every gateway."""
    useless = ask.get("cfg_scale") is not None and ask.model.startswith("kling-v2")
    return f"model({ask.model}) is not supported with cfg_scale" if useless else None


def _duration_o1(ask: Ask) -> str | None:
    """R054. First and end frame together are left alone: sources disagree."""
    referred = ask.video_type or ask.rows("element_list") or len(ask.rows("image_list")) > len(ask.frames)
    free = ask.model != _O1 or referred or len(ask.frames) == 2 or ask.duration in (5, 10)
    return None if free else "Duration only supports 5 or 10 seconds when no refer_image is provided"


def _ratio_required(ask: Ask) -> str | None:
    """R052."""
    needless = ask.video_type or "first_frame" in ask.frames or ask.get("aspect_ratio")
    return None if needless else "aspect_ratio can not be null"


def _mode(*allowed: str) -> Rule:
    check = enum("mode", *allowed)
    return Rule("R055", check, _JUNE if "4k" in allowed else _BEFORE_JUNE)


def _mode_4k(ask: Ask) -> str | None:
    able = ask.model in {_V3, _OMNI}
    return None if able or ask.mode != "4k" else f"model/mode({ask.model}/4k) is not supported"


def _sound(ask: Ask) -> str | None:
    """R056, R064."""
    able = ask.model in {_V3, _OMNI} or (ask.model, ask.mode) == ("kling-v2-6", "pro")
    return f"model/mode({ask.model}/{ask.mode}) is not supported with sound on" if ask.sound and not able else None


def _voices(ask: Ask) -> str | None:
    """R069, R088."""
    return "voice_list needs sound on" if ask.rows("voice_list") and not ask.sound else None


def _tail(ask: Ask) -> str | None:
    """R081, R083."""
    image, tail = ask.get("image"), ask.get("image_tail")
    if not image and not tail:
        return "image can not be null"
    if not tail:
        return None
    alone = ask.model in {"kling-v1-5", "kling-v1-6"} and ask.mode == "pro"
    if not image:
        return None if alone else "image can not be null"
    able = ask.mode in _TAIL_MODES.get(ask.model, ()) and not (ask.model == "kling-v2-6" and ask.sound)
    able = able and (ask.model != "kling-v1" or ask.duration == 5)
    combination = f"{ask.model}/{ask.mode}/{ask.duration:g}"
    return None if able else f"model/mode/duration({combination}) is not supported with image_tail"


def _elements(ask: Ask) -> str | None:
    """R086, R087."""
    count = len(ask.rows("element_list"))
    if count and ask.model != _V3:
        return f"model({ask.model}) is not supported with element_list"
    if count > 3:
        return "element_list must have at most 3 entries"
    return "element_list is not supported with voice_list" if count and ask.rows("voice_list") else None


_SHARED = (
    Rule("R008", _multi_shot),
    Rule("R023", _shot_type),
    Rule("R024", _shot_types("customize", "intelligence")),
    Rule("R032", _multi_shot_model),
    Rule("R055", _mode_4k),
    _mode("std", "pro"),
    _mode("std", "pro", "4k"),
    Rule("R008", enum("sound", "on", "off")),
    Rule("R053", _duration),
    Rule("R008", _duration_text, strict=True),
    Rule("R021", _prompt),
    Rule("R025", _shots),
    Rule("R033", _shots_and_frames, _MARCH),
    Rule("R056", _sound),
)
_CLASSIC = (
    *_SHARED,
    Rule("R065", fraction("cfg_scale", 0, 1)),
    Rule("R065", _scale_v2, strict=True),
    Rule("R069", at_most("voice_list", 2)),
    Rule("R069", _voices),
    Rule("R067", camera),
)
OF_FAMILY = {
    "videos/omni-video": (
        Rule("R034", _image_rows),
        Rule("R045", _video_rows),
        Rule("R051", enum("aspect_ratio", *_RATIOS)),
        *_SHARED,
        # The first edition knows no other way for omni; for kling-v3 its changelog has both.
        Rule("R024", _shot_types("customize"), _FEBRUARY),
        Rule("R037", _frames_and_base),
        Rule("R038", _end_frame_alone, _FEBRUARY),
        Rule("R038", _end_frame_alone_o1, _SINCE_MARCH),
        Rule("R039", _references),
        Rule("R041", _characters),
        Rule("R043", _many_characters, _JUNE),
        Rule("R042", _frame_elements),
        Rule("R048", _silent_video),
        Rule("R054", _duration_o1),
        Rule("R052", _ratio_required),
    ),
    "videos/text2video": (Rule("R068", enum("aspect_ratio", *_RATIOS)), *_CLASSIC),
    "videos/image2video": (Rule("R081", _tail), *_CLASSIC, Rule("R084", masks), Rule("R086", _elements)),
}
