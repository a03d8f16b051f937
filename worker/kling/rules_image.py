"""Rules of omni-image and image generation: R100 to R108. Source: spec section 3, "images"."""

from __future__ import annotations

from worker.kling.editions import NEWEST
from worker.kling.rule import Found, Miss, Rules, Seen, one_of, whole

IMAGE = Rules()
_OMNI = ("images/omni-image",)
_PLAIN = ("images/generations",)
_MULTI = ("images/multi-image2image",)
_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")
_V3 = "kling-v3-omni"


@IMAGE.rule("R100", (*_OMNI, *_PLAIN), "There is a prompt.", "DOC A, Cio, Cig")
def _prompt(seen: Seen) -> Found:
    return None if seen.request.prompt else Miss("prompt", seen.request.prompt, "must not be empty")


@IMAGE.rule("R100", _OMNI, "Images and elements are at most 10, each named.", "DOC A, Cio")
def _ten(seen: Seen) -> Found:
    images, elements = seen.request.image_list or (), seen.request.element_list or ()
    misses = [
        Miss(f"image_list[{number}].image", item.image, "must be a URL or base64, not empty")
        for number, item in enumerate(images)
        if not item.image
    ]
    if (count := len(images) + len(elements)) > 10:
        misses.append(Miss("image_list", f"{count} images and elements", "images and elements must be at most 10"))
    return misses


@IMAGE.rule("R101", _OMNI, "resolution is 1k, 2k, or 4k on kling-v3-omni.", "DOC A, Cio, map")
def _omni_resolution(seen: Seen) -> Found:
    allowed = ("1k", "2k", "4k") if seen.model == _V3 else ("1k", "2k")
    if seen.request.resolution in (None, "", *allowed):
        return None
    return Miss("resolution", seen.request.resolution, f"{one_of(allowed)} with {seen.model}")


@IMAGE.rule("R101", _OMNI, "result_type is single, or series on kling-v3-omni from an image.", "DOC A, Cio, map")
def _series(seen: Seen) -> Found:
    kind = seen.request.result_type
    if kind in (None, "", "single"):
        return None
    if kind != "series":
        return Miss("result_type", kind, one_of(("single", "series")))
    if seen.model != _V3:
        return Miss("result_type", kind, f"must be single with {seen.model}")
    return None if seen.request.image_list else Miss("result_type", kind, "needs an image in image_list")


@IMAGE.rule("R102", _OMNI, "A series has a series_amount of 2 to 9, or auto.", "DOC A; Cio for auto")
def _amount(seen: Seen) -> Found:
    amount = seen.request.series_amount
    if seen.request.result_type != "series" or amount in (None, "", "auto") or 2 <= (whole(amount) or 0) <= 9:
        return None
    return Miss("series_amount", amount, "must be a whole number from 2 to 9, or auto")


@IMAGE.advice("R102", _OMNI, "n has no effect on a series, series_amount none on a single image.", "DOC A, Cio")
def _unused(seen: Seen) -> Found:
    request = seen.request
    name = "n" if request.result_type == "series" else "series_amount"
    value = getattr(request, name)
    return (
        None
        if value in (None, "")
        else Miss(name, value, f"will be ignored with result_type {request.result_type or 'single'}")
    )


@IMAGE.rule("R103", _OMNI, "aspect_ratio is one of eight, or auto.", "DOC A, Cio")
def _omni_ratio(seen: Seen) -> Found:
    if seen.request.aspect_ratio in (None, "", "auto", *_RATIOS):
        return None
    return Miss("aspect_ratio", seen.request.aspect_ratio, one_of((*_RATIOS, "auto")))


@IMAGE.advice("R103", _OMNI, "Whether auto works without an image is disputed.", "AMB: A's map against Ci")
def _auto(seen: Seen) -> Found:
    if seen.request.aspect_ratio != "auto" or seen.request.image_list:
        return None
    return Miss("aspect_ratio", "auto", "may be refused without an image to follow")


def _maybe_newer(seen: Seen) -> bool:
    """Which model is meant when none is named became disputed in mid-2026: kling-v1 (A, R) or kling-v3 (Cig)."""
    return not seen.request.model_name and seen.edition == NEWEST


@IMAGE.advice("R104", _PLAIN, "Which model is meant when none is named is disputed.", "AMB: A, R against Cig")
def _unnamed(seen: Seen) -> Found:
    request = seen.request
    if not _maybe_newer(seen) or (request.resolution != "2k" and request.aspect_ratio != "21:9"):
        return None
    return Miss("model_name", None, "may be kling-v1, which has neither 2k nor 21:9: name the model")


@IMAGE.rule("R104", _PLAIN, "resolution is 1k or 2k; 1k only on kling-v1 and kling-v1-5.", "DOC A, Cig, map")
def _resolution(seen: Seen) -> Found:
    old = seen.model in ("kling-v1", "kling-v1-5") and not _maybe_newer(seen)
    allowed = ("1k",) if old else ("1k", "2k")
    if seen.request.resolution in (None, "", *allowed):
        return None
    return Miss("resolution", seen.request.resolution, f"{one_of(allowed)} with {seen.model}")


@IMAGE.rule("R104", (*_PLAIN, *_MULTI), "aspect_ratio is one of eight; 21:9 not on kling-v1.", "DOC A, R, Cig")
def _ratio(seen: Seen) -> Found:
    allowed = _RATIOS[:-1] if seen.model == "kling-v1" and not _maybe_newer(seen) else _RATIOS
    if seen.request.aspect_ratio in (None, "", *allowed):
        return None
    return Miss("aspect_ratio", seen.request.aspect_ratio, one_of(allowed))


@IMAGE.advice(
    "R105",
    _PLAIN,
    "With an image, negative_prompt is not supported.",
    "DOC A; whether refused or ignored is unrecorded",
)
def _negative(seen: Seen) -> Found:
    if not seen.request.negative_prompt or not seen.request.image:
        return None
    return Miss("negative_prompt", seen.request.negative_prompt, "will be ignored beside an image")


@IMAGE.rule("R106", _PLAIN, "image_reference is subject or face, and needs an image.", "DOC A, R, Cig")
def _reference(seen: Seen) -> Found:
    reference = seen.request.image_reference
    if reference in (None, ""):
        return None
    if reference not in ("subject", "face"):
        return Miss("image_reference", reference, one_of(("subject", "face")))
    return None if seen.request.image else Miss("image", seen.request.image, "is required with image_reference")


@IMAGE.rule("R106", _PLAIN, "On kling-v1-5 an image needs an image_reference.", "R, AX")
def _needs_reference(seen: Seen) -> Found:
    if seen.model != "kling-v1-5" or not seen.request.image or seen.request.image_reference:
        return None
    return Miss("image_reference", None, "is required beside an image on kling-v1-5")


@IMAGE.rule("R107", _PLAIN, "Fidelities lie between 0 and 1.", "DOC A, Cig")
def _fidelity(seen: Seen) -> Found:
    return [
        Miss(name, value, "must be a number from 0 to 1")
        for name in ("image_fidelity", "human_fidelity")
        if (value := getattr(seen.request, name)) is not None and not 0 <= value <= 1
    ]


@IMAGE.rule("R108", _PLAIN, "The image and the elements are at most 10.", "DOC A")
def _elements(seen: Seen) -> Found:
    count = len(seen.request.element_list or ()) + bool(seen.request.image)
    return (
        Miss("element_list", f"{count} with the image", "must be at most 10 together with the image")
        if count > 10
        else None
    )


@IMAGE.rule("R109", _MULTI, "There are 1 to 4 subject images, each named.", "DOC B")
def _subjects(seen: Seen) -> Found:
    subjects = seen.request.subject_image_list or ()
    misses = [
        Miss(f"subject_image_list[{number}].subject_image", item.subject_image, "must be a URL or base64, not empty")
        for number, item in enumerate(subjects)
        if not item.subject_image
    ]
    if not 1 <= len(subjects) <= 4:
        misses.append(Miss("subject_image_list", subjects, "must hold 1 to 4 images"))
    return misses
