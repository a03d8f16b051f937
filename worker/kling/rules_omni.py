"""Rules of omni-video: R034 to R056. Source: spec section 3."""

from __future__ import annotations

from worker.kling.capabilities import THREE_TO_FIFTEEN
from worker.kling.editions import NEWEST, since
from worker.kling.rule import Found, Miss, Rules, Seen, one_of, whole

OMNI = Rules()
_F = ("videos/omni-video",)
_O1 = "kling-video-o1"


def _images(seen: Seen) -> int:
    return len(seen.request.image_list or ())


def _elements(seen: Seen) -> int:
    return len(seen.request.element_list or ())


@OMNI.rule(
    "R034",
    _F,
    "Each image has an image_url; its type, if any, is first_frame or end_frame.",
    "DOC A, B, S1",
    when="image_list",
)
def _image(seen: Seen) -> Found:
    misses = []
    for number, item in enumerate(seen.request.image_list or ()):
        if not item.image_url:
            misses.append(Miss(f"image_list[{number}].image_url", item.image_url, "must be a URL or base64, not empty"))
        if item.type is not None and item.type not in ("first_frame", "end_frame"):
            allowed = f"{one_of(('first_frame', 'end_frame'))}, or left out for a plain reference"
            misses.append(Miss(f"image_list[{number}].type", item.type, allowed))
    return misses or None


@OMNI.rule("R035", _F, "An end frame needs a first frame.", "DOC A, B, S1, S2", when="image_list")
def _end_alone(seen: Seen) -> Found:
    frames = seen.frames
    if "end_frame" not in frames or "first_frame" in frames:
        return None
    return Miss("image_list", "an end_frame alone", "an end_frame needs a first_frame beside it")


@OMNI.rule("R036", _F, "There is at most one first frame and one end frame.", "E; INF", when="image_list")
def _one_each(seen: Seen) -> Found:
    frames = seen.frames
    if len(frames) < 2:
        return None
    return [
        Miss("image_list", f"{frames.count(kind)} of type {kind}", f"must hold at most one {kind}")
        for kind in ("first_frame", "end_frame")
        if frames.count(kind) > 1
    ]


@OMNI.rule(
    "R037",
    _F,
    "Frames exclude a base video, and base is what refer_type means when it is left out.",
    "DOC A, B, S1, S2",
    when="image_list",
)
def _frames_or_edit(seen: Seen) -> Found:
    if not seen.edits_video() or not seen.frames:
        return None
    return Miss("image_list", "a first or end frame", "must hold plain references only beside a base video")


@OMNI.rule(
    "R038",
    _F,
    "More than two images exclude an end frame.",
    "AMB: all models in A, S2, S4; o1 only in B, B2o",
    when="image_list",
)
def _end_of_many(seen: Seen) -> Found:
    if _images(seen) <= 2 or "end_frame" not in seen.frames:
        return None
    if seen.edition in since("2026-03") and seen.model != _O1:
        return None
    return Miss("image_list", f"{_images(seen)} images with an end_frame", "an end_frame allows at most 2 images")


@OMNI.rule("R039", _F, "Without a video, images and elements are at most 7.", "DOC A, B, S0, S2")
def _seven(seen: Seen) -> Found:
    count = _images(seen) + _elements(seen)
    if count <= 7 or seen.request.video_list:
        return None
    return Miss("image_list", f"{count} images and elements", "images and elements together must be at most 7")


@OMNI.rule("R040", _F, "With a video, images and elements are at most 4.", "DOC A, B, S0, S2", when="video_list")
def _four(seen: Seen) -> Found:
    count = _images(seen) + _elements(seen)
    if count <= 4 or not seen.request.video_list:
        return None
    return Miss(
        "image_list", f"{count} images and elements", "images and elements together must be at most 4 beside a video"
    )


def _characters(seen: Seen) -> int:
    if seen.kinds is None:
        return 0
    return sum(seen.is_video_element(item.element_id) for item in seen.request.element_list or ())


@OMNI.rule("R041", _F, "Beside a video there is no video-character element.", "DOC A, B, B2o", when="video_list")
def _character_beside_video(seen: Seen) -> Found:
    if not seen.request.video_list or not _characters(seen):
        return None
    return Miss("element_list", "a video-character element", "must hold multi-image elements only beside a video")


@OMNI.rule(
    "R042",
    _F,
    "Beside frames there are at most 3 elements; none beside first and end frame on o1.",
    "DOC S4, A, B2o",
    when="element_list",
)
def _elements_beside_frames(seen: Seen) -> Found:
    frames = seen.frames
    if not frames:
        return None
    most = 0 if seen.model == _O1 and "end_frame" in frames else 3
    if _elements(seen) <= most:
        return None
    return Miss("element_list", seen.request.element_list, f"must hold at most {most} elements beside these frames")


@OMNI.rule(
    "R043",
    _F,
    "Video-character elements are at most 3, with at most 4 images and other elements.",
    "DOC B2o",
    refuses=frozenset({NEWEST}),
    when="element_list",
)
def _few_characters(seen: Seen) -> Found:
    if seen.kinds is None:
        return None
    characters = _characters(seen)
    others = _images(seen) + _elements(seen) - characters
    if seen.request.video_list or not characters or (characters <= 3 and others <= 4):
        return None
    return Miss(
        "element_list", f"{characters} video-character elements and {others} others", "at most 3 and 4 are allowed"
    )


@OMNI.rule("R044", _F, "kling-video-o1 takes multi-image elements only.", "DOC map (A, B, R)", when="element_list")
def _o1_characters(seen: Seen) -> Found:
    if seen.model != _O1 or not _characters(seen):
        return None
    return Miss("element_list", "a video-character element", "must hold multi-image elements only with kling-video-o1")


@OMNI.rule("R045", _F, "video_list holds at most one video, by its URL.", "DOC A, B, S0, S2", when="video_list")
def _one_video(seen: Seen) -> Found:
    videos = seen.request.video_list
    if not videos:
        return None
    misses = [
        Miss(f"video_list[{number}].video_url", item.video_url, "must be a URL, not empty")
        for number, item in enumerate(videos)
        if not item.video_url
    ]
    if len(videos) > 1:
        misses.append(Miss("video_list", videos, "must hold at most 1 video"))
    return misses


@OMNI.rule("R046", _F, "refer_type is feature or base.", "DOC A, B, S0, S1, S2", when="video_list")
def _refer_type(seen: Seen) -> Found:
    return [
        Miss(f"video_list[{number}].refer_type", item.refer_type, one_of(("feature", "base")))
        for number, item in enumerate(seen.request.video_list or ())
        if item.refer_type not in (None, "", "feature", "base")
    ]


@OMNI.rule("R047", _F, "keep_original_sound is yes or no.", "DOC A, B, S0, S1, S2", when="video_list")
def _original_sound(seen: Seen) -> Found:
    return [
        Miss(f"video_list[{number}].keep_original_sound", item.keep_original_sound, one_of(("yes", "no")))
        for number, item in enumerate(seen.request.video_list or ())
        if item.keep_original_sound not in (None, "", "yes", "no")
    ]


@OMNI.rule("R048", _F, "Beside a video, sound is off.", "DOC A (2026-02-03), S4", when="video_list")
def _silent(seen: Seen) -> Found:
    if not seen.sound or not seen.request.video_list:
        return None
    return Miss("sound", "on", "must be off or left out beside a video")


@OMNI.advice("R049", _F, "With a base video, duration has no effect.", "DOC A, B, S0, S1, S2", when="video_list")
def _no_duration(seen: Seen) -> Found:
    if not seen.edits_video() or seen.request.duration is None:
        return None
    return Miss("duration", seen.request.duration, "will be ignored: an edit lasts as long as its base video")


@OMNI.advice(
    "R050",
    _F,
    "With a base video or a first frame, aspect_ratio has no effect.",
    "AMB: DOC B2o; S2 says not supported",
    when="aspect_ratio",
)
def _no_ratio(seen: Seen) -> Found:
    if not seen.request.aspect_ratio or not (seen.edits_video() or "first_frame" in seen.frames):
        return None
    return Miss("aspect_ratio", seen.request.aspect_ratio, "will be ignored: the output follows its input")


@OMNI.rule("R051", _F, "aspect_ratio is 16:9, 9:16 or 1:1.", "DOC A, B, S0, S1, S2", when="aspect_ratio")
def _ratio(seen: Seen) -> Found:
    if seen.request.aspect_ratio in (None, "", "16:9", "9:16", "1:1"):
        return None
    return Miss("aspect_ratio", seen.request.aspect_ratio, one_of(("16:9", "9:16", "1:1")))


@OMNI.rule(
    "R052",
    _F,
    "Without a first frame and without a video, aspect_ratio is required.",
    "DOC A, B, S0, S1; AMB for a feature video",
)
def _needs_ratio(seen: Seen) -> Found:
    request = seen.request
    if request.aspect_ratio or request.video_list or "first_frame" in seen.frames:
        return None
    return Miss("aspect_ratio", request.aspect_ratio, "is required without a first_frame and without a video")


def _lacks_ratio_beside_video(seen: Seen) -> bool:
    request = seen.request
    return not (request.aspect_ratio or seen.edits_video() or "first_frame" in seen.frames)


@OMNI.rule("R052", _F, "A feature video needs an aspect_ratio where the gateway says so.", "S2", when="video_list")
def _needs_ratio_here(seen: Seen) -> Found:
    if not (seen.limits.ratio_of_features and _lacks_ratio_beside_video(seen)):
        return None
    return Miss("aspect_ratio", None, "is required by this gateway beside a feature video")


@OMNI.advice(
    "R052",
    _F,
    "Whether a feature video needs an aspect_ratio is disputed.",
    "AMB: the text requires it, the official sample leaves it out",
    when="video_list",
)
def _may_need_ratio(seen: Seen) -> Found:
    if seen.limits.ratio_of_features or not _lacks_ratio_beside_video(seen):
        return None
    return Miss("aspect_ratio", None, "may be required beside a feature video")


@OMNI.rule("R053", _F, "duration is 3 to 15 for kling-v3-omni, 3 to 10 for kling-video-o1.", "DOC A, B, S0, S1")
def _duration(seen: Seen) -> Found:
    durations = seen.can.durations if seen.can else THREE_TO_FIFTEEN
    if seen.duration in durations or seen.edits_video():
        return None
    low, high = durations[0], durations[-1]
    return Miss("duration", seen.request.duration, f"must be a string from {low} to {high} with {seen.model}")


@OMNI.rule("R054", _F, "On o1, text alone or a first frame allow 5 or 10 seconds only.", "OBS M; DOC map, S0, S1, S2")
def _five_or_ten(seen: Seen) -> Found:
    if seen.model != _O1 or seen.duration in ("5", "10"):
        return None
    request, frames = seen.request, seen.frames
    plain = _images(seen) > len(frames)
    if request.video_list or request.element_list or plain or "end_frame" in frames:
        return None
    if whole(seen.duration) is None or seen.can is None or seen.duration not in seen.can.durations:
        return None  # R053 says it
    allowed = "Duration only supports 5 or 10 seconds when no refer_image is provided"
    return Miss("duration", request.duration, allowed)


@OMNI.advice(
    "R054",
    _F,
    "On o1, whether first and end frame allow other durations than 5 and 10 is disputed.",
    "AMB: map against M, E",
    when="image_list",
)
def _frames_duration(seen: Seen) -> Found:
    if seen.model != _O1 or seen.duration in ("5", "10") or "end_frame" not in seen.frames:
        return None
    return Miss("duration", seen.request.duration, "may be refused: 5 and 10 are safe")


@OMNI.rule("R055", _F, "mode is std or pro; 4k too on kling-v3-omni since mid-2026.", "DOC A, B, seeds; B2o for 4k")
def _mode(seen: Seen) -> Found:
    if seen.mode in ("std", "pro"):
        return None
    if seen.mode == "4k" and seen.edition == NEWEST and seen.model != _O1:
        return None
    modes = ("std", "pro", "4k") if seen.edition == NEWEST and seen.model != _O1 else ("std", "pro")
    return Miss("mode", seen.request.mode, one_of(modes))


@OMNI.rule("R056", _F, "sound is on or off, and on works with kling-v3-omni only.", "DOC map Cv, A, B", when="sound")
def _sound(seen: Seen) -> Found:
    sound = seen.request.sound
    if sound in (None, "", "off"):
        return None
    if sound != "on":
        return Miss("sound", sound, one_of(("on", "off")))
    return Miss("sound", sound, f"{seen.model} has no native sound; must be off") if seen.model == _O1 else None
