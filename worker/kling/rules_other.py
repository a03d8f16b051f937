"""Rules of the smaller families: R120 to R127. Source: spec sections 2.6 and 3, "other families"."""

from __future__ import annotations

from worker.kling.requests import given
from worker.kling.rule import Found, Miss, Rules, Seen, one_of, whole

OTHER = Rules()


def _missing(seen: Seen, *names: str) -> list[Miss]:
    return [Miss(name, None, "is required") for name in names if given(seen.request, name) is None]


def _exactly_one(of: object, first: str, second: str, path: str = "") -> list[Miss]:
    there = [name for name in (first, second) if getattr(of, name) not in (None, "")]
    if len(there) == 1:
        return []
    found = " and ".join(there) or None
    return [Miss(f"{path}{there[1] if there else first}", found, f"exactly one of {first} and {second} must be given")]


_NEEDED = {
    "videos/video-extend": ("video_id",),
    "videos/motion-control": ("image_url", "video_url", "character_orientation", "mode"),
    "videos/multi-elements": ("session_id", "edit_mode", "prompt"),
    "videos/avatar/image2video": ("image",),
    "videos/effects": ("effect_scene", "input"),
    "videos/lip-sync": ("input",),
    "videos/advanced-lip-sync": ("session_id",),
    "videos/multi-image2video": ("prompt",),
    "images/kolors-virtual-try-on": ("human_image", "cloth_image"),
    "images/editing/expand": ("image",),
    "audio/text-to-audio": ("prompt", "duration"),
}


@OTHER.rule("R003", tuple(_NEEDED), "What a family cannot do without is there.", "DOC B")
def _needed(seen: Seen) -> Found:
    return _missing(seen, *_NEEDED[seen.family.path])


_MODED = ("videos/multi-image2video", "videos/motion-control", "videos/multi-elements", "videos/avatar/image2video")


@OTHER.rule("R003", _MODED, "mode is std or pro.", "DOC B")
def _mode(seen: Seen) -> Found:
    return (
        None
        if seen.request.mode in (None, "", "std", "pro")
        else Miss("mode", seen.request.mode, one_of(("std", "pro")))
    )


@OTHER.rule(
    "R120", ("videos/avatar/image2video",), "The voice comes from exactly one of audio_id and sound_file.", "DOC B"
)
def _avatar_sound(seen: Seen) -> Found:
    return _exactly_one(seen.request, "audio_id", "sound_file")


@OTHER.rule("R120", ("audio/video-to-audio",), "The video comes from exactly one of video_id and video_url.", "DOC B")
def _audio_video(seen: Seen) -> Found:
    return _exactly_one(seen.request, "video_id", "video_url")


@OTHER.rule("R120", ("videos/lip-sync",), "The video comes from exactly one of video_id and video_url.", "P, K, AX")
def _lip_video(seen: Seen) -> Found:
    return _exactly_one(seen.request.input, "video_id", "video_url", "input.") if seen.request.input else None


@OTHER.rule("R120", ("videos/lip-sync",), "A lip-sync speaks a text of at most 120 characters, or a sound.", "P, K, AX")
def _lip_words(seen: Seen) -> Found:
    speaks = seen.request.input
    if speaks is None:
        return None
    if speaks.mode not in ("text2video", "audio2video"):
        return Miss("input.mode", speaks.mode, one_of(("text2video", "audio2video")))
    misses = []
    if speaks.mode == "text2video":
        if not 1 <= len(speaks.text or "") <= 120:
            misses.append(Miss("input.text", speaks.text, "must have 1 to 120 characters"))
        if not speaks.voice_id:
            misses.append(Miss("input.voice_id", speaks.voice_id, "is required in mode text2video"))
        if speaks.voice_language not in (None, "", "zh", "en"):
            misses.append(Miss("input.voice_language", speaks.voice_language, one_of(("zh", "en"))))
        if speaks.voice_speed is not None and not 0.8 <= speaks.voice_speed <= 2:
            misses.append(Miss("input.voice_speed", speaks.voice_speed, "must be a number from 0.8 to 2.0"))
    return misses


@OTHER.rule(
    "R120", ("videos/advanced-lip-sync",), "One face is chosen; its sound comes from exactly one place.", "DOC B"
)
def _faces(seen: Seen) -> Found:
    faces = seen.request.face_choose or []
    if len(faces) != 1:
        return Miss("face_choose", faces, "must hold exactly 1 face")
    face, path = faces[0], "face_choose[0]."
    misses = _exactly_one(face, "audio_id", "sound_file", path)
    if face.face_id in (None, ""):
        misses.append(Miss(f"{path}face_id", face.face_id, "is required"))
    times = ("sound_start_time", "sound_end_time", "sound_insert_time")
    misses += [
        Miss(path + name, getattr(face, name), "must be a whole number of milliseconds")
        for name in times
        if whole(getattr(face, name)) is None
    ]
    begin, end = whole(face.sound_start_time), whole(face.sound_end_time)
    if begin is not None and end is not None and end - begin < 2000:
        misses.append(Miss(f"{path}sound_end_time", end, "must lie at least 2000 ms after sound_start_time"))
    return misses + [
        Miss(path + name, volume, "must be a number from 0 to 2")
        for name in ("sound_volume", "original_audio_volume")
        if (volume := getattr(face, name)) is not None and not 0 <= volume <= 2
    ]


@OTHER.rule(
    "R121", ("videos/motion-control",), "Orientation is image or video; with an element it is video.", "DOC B, C"
)
def _orientation(seen: Seen) -> Found:
    request = seen.request
    misses = []
    if request.character_orientation not in (None, "", "image", "video"):
        misses.append(Miss("character_orientation", request.character_orientation, one_of(("image", "video"))))
    if request.keep_original_sound not in (None, "", "yes", "no"):
        misses.append(Miss("keep_original_sound", request.keep_original_sound, one_of(("yes", "no"))))
    if len(request.element_list or ()) > 1:
        misses.append(Miss("element_list", request.element_list, "must hold at most 1 element"))
    if request.element_list and request.character_orientation == "image":
        misses.append(Miss("character_orientation", "image", "must be video when element_list is used"))
    return misses


@OTHER.rule("R122", ("videos/multi-image2video",), "1 to 4 images, 5 or 10 s, one of three ratios.", "DOC B, R")
def _multi_image(seen: Seen) -> Found:
    request = seen.request
    images = request.image_list or ()
    misses = [] if 1 <= len(images) <= 4 else [Miss("image_list", images, "must hold 1 to 4 images")]
    misses += _unnamed_images(seen)
    if seen.duration not in ("5", "10"):
        misses.append(Miss("duration", request.duration, one_of(("5", "10"))))
    if request.aspect_ratio not in (None, "", "16:9", "9:16", "1:1"):
        misses.append(Miss("aspect_ratio", request.aspect_ratio, one_of(("16:9", "9:16", "1:1"))))
    return misses


_EDITS = {"addition": (1, 2), "swap": (1, 1), "removal": (0, 0)}


@OTHER.rule("R123", ("videos/multi-elements",), "The edit mode says how many images there are.", "DOC B, R")
def _edit(seen: Seen) -> Found:
    request = seen.request
    if request.edit_mode in (None, ""):
        return None
    if request.edit_mode not in _EDITS:
        return Miss("edit_mode", request.edit_mode, one_of(tuple(_EDITS)))
    low, high = _EDITS[request.edit_mode]
    images = request.image_list or ()
    misses = _unnamed_images(seen)
    if not low <= len(images) <= high:
        allowed = f"must hold {low if low == high else f'{low} to {high}'} images with edit_mode {request.edit_mode}"
        misses.append(Miss("image_list", images, allowed))
    if seen.duration not in ("5", "10"):
        misses.append(Miss("duration", request.duration, one_of(("5", "10"))))
    return misses


def _unnamed_images(seen: Seen) -> list[Miss]:
    return [
        Miss(f"image_list[{number}].image", item.image, "must be a URL or base64, not empty")
        for number, item in enumerate(seen.request.image_list or ())
        if not item.image
    ]


_SIDES = ("up_expansion_ratio", "down_expansion_ratio", "left_expansion_ratio", "right_expansion_ratio")


@OTHER.rule("R124", ("images/editing/expand",), "Four ratios from 0 to 2; the area grows threefold at most.", "DOC B")
def _expand(seen: Seen) -> Found:
    ratios = {name: getattr(seen.request, name) for name in _SIDES}
    misses = [
        Miss(name, ratio, "must be a number from 0 to 2")
        for name, ratio in ratios.items()
        if ratio is None or not 0 <= ratio <= 2
    ]
    if misses:
        return misses
    up, down, left, right = ratios.values()
    area = (1 + up + down) * (1 + left + right)
    return (
        Miss(_SIDES[0], f"{area:g} times the area", "the new area must be at most 3 times the old")
        if area > 3
        else None
    )


@OTHER.rule("R125", ("audio/text-to-audio",), "The prompt has at most 200 characters, the sound 3 to 10 s.", "DOC B")
def _text_to_audio(seen: Seen) -> Found:
    request = seen.request
    misses = []
    if len(request.prompt or "") > 200:
        misses.append(Miss("prompt", request.prompt, "must be at most 200 characters"))
    if request.duration is not None and not 3 <= request.duration <= 10:
        misses.append(Miss("duration", request.duration, "must be a number from 3.0 to 10.0"))
    return misses


@OTHER.rule("R125", ("audio/video-to-audio",), "The prompts have at most 200 characters.", "DOC B")
def _video_to_audio(seen: Seen) -> Found:
    return [
        Miss(name, text, "must be at most 200 characters")
        for name in ("sound_effect_prompt", "bgm_prompt")
        if (text := getattr(seen.request, name)) is not None and len(text) > 200
    ]


@OTHER.rule("R127", ("videos/effects",), "An effect takes one image, or two in images.", "DOC Cfx")
def _effect(seen: Seen) -> Found:
    asked = seen.request.input
    if asked is None:
        return None
    if asked.images:
        allowed = "must hold exactly 2 images, the left one first"
        return None if len(asked.images) == 2 else Miss("input.images", asked.images, allowed)
    return None if asked.image else Miss("input.image", asked.image, "or input.images is required")


#: Of about two hundred scenes those whose pictures are known from samples; scenes come and go, so this only warns.
_OF_TWO, _OF_ONE = frozenset({"hug", "kiss", "heart_gesture"}), frozenset({"squish", "expansion", "fuzzyfuzzy"})


@OTHER.advice(
    "R127", ("videos/effects",), "Scenes of two take two images, all others one.", "DOC Cfx; names from samples"
)
def _scene(seen: Seen) -> Found:
    scene, asked = seen.request.effect_scene, seen.request.input
    if asked is None or scene not in _OF_TWO | _OF_ONE or bool(asked.images) == (scene in _OF_TWO):
        return None
    wanted = "input.images with 2 images" if scene in _OF_TWO else "input.image with 1 image"
    return Miss("effect_scene", scene, f"is a scene that takes {wanted}")


_SCALED = ("videos/video-extend",)


@OTHER.rule("R065", _SCALED, "cfg_scale lies between 0 and 1.", "DOC B")
def _scale(seen: Seen) -> Found:
    scale = seen.request.cfg_scale
    return None if scale is None or 0 <= scale <= 1 else Miss("cfg_scale", scale, "must be a number from 0 to 1")
