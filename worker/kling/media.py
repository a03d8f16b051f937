"""Where a request names media, and what Kling takes there. Source: spec section 4.

Looking into a file is somebody else's work: its facts come in as numbers, faults go out.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from worker.kling.editions import NEWEST
from worker.kling.rule import Fault

URL_SCHEMES = ("https://", "http://", "s3://", "reelhook://")
_WHOLE_URL = re.compile(r"(https?|s3|reelhook)://\S+")


class _Spot(NamedTuple):
    """Where a family names a medium: `field`, `holder.field`, `field[].inner` or `holder.field[]`."""

    holder: str
    field: str
    inner: str
    kind: str


def _spots(kind: str, *paths: str) -> tuple[_Spot, ...]:
    spots = []
    for path in paths:
        where, _, inner = path.partition("[]")
        holder, _, field = where.rpartition(".")
        spots.append(_Spot(holder, field, inner.removeprefix("."), kind))
    return tuple(spots)


_PLACES: Mapping[str, tuple[_Spot, ...]] = MappingProxyType(
    {
        "videos/omni-video": (*_spots("image", "image_list[].image_url"), *_spots("video", "video_list[].video_url")),
        "videos/image2video": _spots("image", "image", "image_tail", "static_mask", "dynamic_masks[].mask"),
        "videos/multi-image2video": _spots("image", "image_list[].image"),
        "videos/motion-control": (*_spots("image", "image_url"), *_spots("video", "video_url")),
        "videos/multi-elements": _spots("image", "image_list[].image"),
        "videos/avatar/image2video": (*_spots("image", "image"), *_spots("audio", "sound_file")),
        "videos/effects": _spots("image", "input.image", "input.images[]"),
        "videos/lip-sync": _spots("video", "input.video_url"),
        "videos/advanced-lip-sync": _spots("audio", "face_choose[].sound_file"),
        "images/omni-image": _spots("image", "image_list[].image"),
        "images/generations": _spots("image", "image"),
        "images/multi-image2image": _spots("image", "subject_image_list[].subject_image", "scene_image", "style_image"),
        "images/kolors-virtual-try-on": _spots("image", "human_image", "cloth_image"),
        "images/editing/expand": _spots("image", "image"),
        "audio/video-to-audio": _spots("video", "video_url"),
    }
)


#: family -> its fields that take the id of an earlier task's result. Source: spec section 2.6.
_IDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "videos/video-extend": {"video_id": "video_id"},
        "videos/lip-sync": {"input.video_id": "video_id", "input.audio_id": "audio_id"},
        "videos/advanced-lip-sync": {"face_choose.audio_id": "audio_id"},
        "videos/avatar/image2video": {"audio_id": "audio_id"},
        "audio/video-to-audio": {"video_id": "video_id"},
    }
)
#: What is named by an id, not by a file.
ID_KINDS = frozenset({"video_id", "audio_id"})
_EXTENDED_FAMILIES = frozenset({"videos/text2video", "videos/image2video", "videos/video-extend"})
_EXTENDED_MODELS = ("kling-v1", "kling-v1-5", "kling-v1-6")
_INDEX = re.compile(r"\[\d+\]")
_KINDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        family: {".".join(filter(None, spot[:3])): spot.kind for spot in _PLACES.get(family, ())}
        | dict(_IDS.get(family, {}))
        for family in {*_PLACES, *_IDS}
    }
)


def kind_at(family: str, field: str) -> str | None:
    """What a field such as `image_list[0].image_url` takes: image, video, audio, video_id or audio_id, or none."""
    return _KINDS.get(family, {}).get(_INDEX.sub("", field))


def id_unfit(family: str, made_by: str, model: str | None) -> str | None:
    """Why a family won't take the id of a result that another made with `model`, if it has one."""
    if family != "videos/video-extend":
        return None
    if made_by not in _EXTENDED_FAMILIES:
        return f"is of {made_by}; extended are results of {', '.join(sorted(_EXTENDED_FAMILIES))}"
    if model and model not in _EXTENDED_MODELS:
        return f"is made with {model}; extended are results of {', '.join(_EXTENDED_MODELS)}"
    return None


#: family -> its fields that name media, or hold what does.
MEDIA_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {family: tuple({spot.holder or spot.field: None for spot in spots}) for family, spots in _PLACES.items()}
)


class Place(NamedTuple):
    """One medium that a request names."""

    field: str  #: path, such as image_list[0].image_url
    value: str  #: a URL, or base64
    kind: str  #: image, video or audio


def media_of(family: str, request: Any) -> Iterator[Place]:
    """Every medium that a parsed request names, absent ones left out."""
    return _walk(family, request.__dict__, lambda _: True)


def _walk(family: str, fields: Mapping[str, Any], wanted: Callable[[str], object]) -> Iterator[Place]:
    for holder, name, inner, kind in _PLACES.get(family, ()):
        held = fields.get(holder) if holder else None
        value = getattr(held, name, None) if holder else fields.get(name)
        if not value:
            continue
        field = f"{holder}.{name}" if holder else name
        if isinstance(value, str):
            if wanted(value):
                yield Place(field, value, kind)
            continue
        for number, item in enumerate(value):
            if (medium := getattr(item, inner) if inner else item) and wanted(medium):
                yield Place(f"{field}[{number}].{inner}" if inner else f"{field}[{number}]", medium, kind)


def doubtful(family: str, fields: Mapping[str, Any]) -> Iterator[Place]:
    """The media of a request that are no whole URLs; `fields` are its attributes. Costs little where there are none."""
    return _walk(family, fields, _is_doubtful) if _any_doubtful(family, fields) else iter(())


def _any_doubtful(family: str, fields: Mapping[str, Any]) -> bool:
    for holder, name, inner, _ in _PLACES[family]:
        value = getattr(fields.get(holder), name, None) if holder else fields.get(name)
        if not value:
            continue
        if isinstance(value, str):
            value, inner = (value,), ""  # noqa: PLW2901 - one medium is a list of one here
        for item in value:
            medium = getattr(item, inner) if inner else item
            if medium and _is_doubtful(medium):
                return True
    return False


def _is_doubtful(value: str) -> bool:
    # What is printable and holds no space is a whole URL; the expression, three times as slow, is for the rest.
    plain = value.startswith(URL_SCHEMES) and " " not in value and value.isprintable() and value[-1] != "/"
    return not plain and _WHOLE_URL.fullmatch(value) is None


def is_base64(place: Place) -> bool:
    """Whether the medium came in the request itself."""
    return not place.value.startswith(URL_SCHEMES)


def decode(place: Place) -> bytes:
    """The bytes of a medium that came as base64. Raises `ValueError`."""
    return base64.b64decode(place.value, validate=True)


def base64_fault(place: Place) -> str | None:
    """Why a medium is neither a URL nor base64; None when it is one of them.

    A `data:` prefix is refused, as Kling refuses it: a request that passes here passes there, with the same bytes.
    """
    value = place.value
    if value.startswith(URL_SCHEMES):
        return None if _WHOLE_URL.fullmatch(value) else "must be a whole URL, without spaces"
    if place.kind == "video":
        return "must be a URL; videos are not taken as base64"
    if value.startswith("data:"):
        return "File is not in a valid base64 format: leave out the data: prefix and send the base64 text alone"
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        return "File is not in a valid base64 format; send an http(s) URL or raw base64"
    return None


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a picture is."""

    format: str  #: png, jpeg, webp, ...; empty for what is no picture
    size: int  #: bytes
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a film is."""

    container: str  #: as its demuxer names it; empty for what is no film
    size: int
    width: int = 0
    height: int = 0
    seconds: float = 0
    fps: float = 0


_MEGABYTE = 10**6
_MEBIBYTE = 2**20
_LEAST_SIDE = 300
_WIDEST = 2.5
_SOURCE = "DOC A, B, S0, S1, S2, S3, S4"


def image_faults(family: str, field: str, facts: ImageFacts) -> Iterator[Fault]:
    """What Kling would refuse of a picture. A reference must be jpg or png, 10 MB, 300 px, from 1:2.5 to 2.5:1."""

    def fault(found: str, allowed: str) -> Fault:
        return Fault(field, "media", found, allowed, _SOURCE)

    if facts.format not in {"png", "jpeg", "mpo"}:
        found = f"a {facts.format} picture" if facts.format else "bytes that are no picture"
        yield fault(found, "must be a JPG, JPEG or PNG picture")
        return
    if facts.size > 10 * _MEBIBYTE:
        yield fault(f"{facts.size / _MEGABYTE:.1f} MB", "must be at most 10 MB")
    if min(facts.width, facts.height) < _LEAST_SIDE:
        yield fault(f"{facts.width}x{facts.height}", f"both sides must be at least {_LEAST_SIDE} px")
    tall, wide = sorted((facts.width, facts.height))
    if family != "videos/motion-control" and tall and wide / tall > _WIDEST:
        yield fault(f"{facts.width}x{facts.height}", "the ratio of the sides must lie between 1:2.5 and 2.5:1")


def video_faults(
    family: str, field: str, facts: VideoFacts, *, edition: str = NEWEST, model: str = "", orientation: str = "image"
) -> Iterator[Fault]:
    """What Kling would refuse of a film, in an edition. `orientation` is motion-control's."""

    def fault(found: str, allowed: str) -> Fault:
        return Fault(field, "media", found, allowed, _SOURCE)

    if "mp4" not in facts.container and "mov" not in facts.container:
        yield fault(facts.container or "bytes that are no film", "must be an MP4 or MOV film")
        return
    limit = _video_limits(family, edition, model, orientation)
    if facts.size > limit.megabytes * _MEBIBYTE:
        yield fault(f"{facts.size / _MEGABYTE:.1f} MB", f"must be at most {limit.megabytes} MB")
    if not limit.side[0] <= min(facts.width, facts.height) <= max(facts.width, facts.height) <= limit.side[1]:
        yield fault(
            f"{facts.width}x{facts.height}", f"both sides must lie between {limit.side[0]} and {limit.side[1]} px"
        )
    if not limit.seconds[0] <= round(facts.seconds, 1) <= limit.seconds[1]:
        low, high = limit.seconds
        yield fault(f"{facts.seconds:g} s", f"must be {low:g} to {high:g} s long")
    if limit.fps and not limit.fps[0] - 0.03 <= facts.fps <= limit.fps[1]:
        yield fault(f"{facts.fps:g} fps", f"must have {limit.fps[0]} to {limit.fps[1]} frames a second")
    if limit.area and facts.width * facts.height > limit.area:
        yield fault(f"{facts.width}x{facts.height}", f"must have at most {limit.area} pixels")


class _VideoLimits(NamedTuple):
    megabytes: int
    side: tuple[int, int]
    seconds: tuple[float, float]
    fps: tuple[int, int] | None = None
    area: int = 0


def _video_limits(family: str, edition: str, model: str, orientation: str) -> _VideoLimits:
    if family == "videos/motion-control":
        return _VideoLimits(100, (340, 3850), (3, 10 if orientation == "image" else 30))
    if family == "videos/lip-sync":
        return _VideoLimits(100, (512, 2160), (2, 60))
    if family == "audio/video-to-audio":
        return _VideoLimits(100, (1, 100_000), (3, 20))
    if edition == NEWEST and model == "kling-v3-omni":
        return _VideoLimits(200, (700, 4553), (3, 15.5), (24, 60), 8_294_400)
    if edition == NEWEST:
        return _VideoLimits(200, (700, 2160), (3, 10), (24, 60))
    return _VideoLimits(200, (720, 2160), (3, 10), (24, 60))
