"""What Kling offers, as data: the task families, and the synchronous rest of `/v1`.

To add a family: a row here, a model in `requests.py`, and its rules in one of the `rules_*.py`. Nothing else knows one
family from another. Source: spec sections 2 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from worker.kling.errors import UnknownFamily


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of task: `POST /v1/{path}` creates, `GET` there lists, `GET /v1/{path}/{id}` shows one."""

    path: str
    kind: str  #: of its results: video, image or audio; also which resource pack's slots it takes
    seconds: float  #: that a task typically takes (the seeds of what is learned; spec section 8)
    models: tuple[str, ...] = ()  #: values of `model_name`, the default first; empty: there is no such field
    mode: str = "std"  #: default of `mode`
    source: str = ""
    frames: bool = False  #: whether its images may be first and end frames


_LONGEST_MODEL = 100
_T2V = ("kling-v1", "kling-v1-6", "kling-v2-master", "kling-v2-1-master", "kling-v2-5-turbo", "kling-v2-6", "kling-v3")
_I2V = (
    "kling-v1", "kling-v1-5", "kling-v1-6", "kling-v2-master", "kling-v2-1", "kling-v2-1-master", "kling-v2-5-turbo",
    "kling-v2-6", "kling-v3",
)  # fmt: skip
_IMAGES = ("kling-v1", "kling-v1-5", "kling-v2", "kling-v2-new", "kling-v2-1", "kling-v3")
_TRY_ON = ("kolors-virtual-try-on-v1", "kolors-virtual-try-on-v1-5")

_ROWS = (
    Family(
        "videos/omni-video", "video", 319, ("kling-video-o1", "kling-v3-omni"), "pro", "2.1 (A, B, B2o)", frames=True
    ),
    Family("videos/text2video", "video", 319, _T2V, source="2.2 (A, B)"),
    Family("videos/image2video", "video", 164, _I2V, source="2.3 (A, B, B2i)"),
    Family("videos/multi-image2video", "video", 164, ("kling-v1-6",), source="2.6 (B, R)"),
    Family("videos/video-extend", "video", 319, source="2.6 (B, R)"),
    Family("videos/motion-control", "video", 319, ("kling-v2-6", "kling-v3"), source="2.6 (B, C)"),
    Family("videos/multi-elements", "video", 319, ("kling-v1-6",), source="2.6 (B, R)"),
    Family("videos/avatar/image2video", "video", 455, source="2.6 (B)"),
    Family("videos/effects", "video", 164, source="2.6 (Cfx, R)"),
    Family("videos/lip-sync", "video", 455, source="2.6 (P, K, AX)"),
    Family("videos/advanced-lip-sync", "video", 455, source="2.6 (B)"),
    Family("images/omni-image", "image", 32, ("kling-image-o1", "kling-v3-omni"), source="2.4 (A, Cio)"),
    Family("images/generations", "image", 32, _IMAGES, source="2.5 (A, R, Cig)"),
    Family("images/multi-image2image", "image", 32, ("kling-v2", "kling-v2-1"), source="2.6 (B)"),
    Family("images/kolors-virtual-try-on", "image", 19, _TRY_ON, source="2.6 (B)"),
    Family("images/editing/expand", "image", 32, source="2.6 (B)"),
    Family("audio/text-to-audio", "audio", 30, source="2.6 (B)"),
    Family("audio/video-to-audio", "audio", 30, source="2.6 (B)"),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({row.path: row for row in _ROWS})


def family(name: str) -> Family:
    """The family of that path below /v1, or of its last part where only one ends so. Raises `UnknownFamily`."""
    path = name.strip("/")
    if path in FAMILIES:
        return FAMILIES[path]
    ending = [row for row in _ROWS if row.path.rpartition("/")[2] == path]
    if len(ending) == 1:
        return ending[0]
    what = f"{path[:60]!r} fits {' and '.join(row.path for row in ending)}" if ending else f"no family is {path[:60]!r}"
    raise UnknownFamily(f"{what}; known are {', '.join(FAMILIES)}")


def slots(path: str, body: Mapping[str, Any]) -> int:
    """Slots that a task takes: one, or one for each image it makes. Source: spec section 8 (B, Cc)."""
    if FAMILIES[path].kind != "image":
        return 1
    count = body.get("series_amount", 4) if body.get("result_type") == "series" else body.get("n")
    number = int(str(count)) if str(count).isascii() and str(count).isdigit() else 1
    return min(max(number, 1), 9)


def expected_seconds(path: str, body: Mapping[str, Any]) -> float:
    """Seconds that a task of this family and body likely takes; longer films take longer."""
    row = FAMILIES[path]
    duration = body.get("duration")
    if isinstance(duration, str) and duration.isascii() and duration.isdigit() and len(duration) < 3:
        duration = int(duration)
    length = duration if isinstance(duration, int) and 0 < duration < 100 else 5
    return row.seconds * max(1, length / 5) if row.kind == "video" else row.seconds


def model(path: str, body: Mapping[str, Any]) -> str | None:
    """The model that a request names, or the family's default; None where the family has none."""
    named = body.get("model_name")
    if isinstance(named, str) and 0 < len(named) <= _LONGEST_MODEL and named.isprintable():
        return named
    return next(iter(FAMILIES[path].models), None)


@dataclass(frozen=True, slots=True)
class Route:
    """A route that is answered at once, and never becomes a job: the door passes it through to an account."""

    method: str
    path: str  #: below /v1, or from the root where it begins with a slash; {id} stands for any one part
    source: str

    def fits(self, path: str) -> bool:
        """Whether a path, written in the same way, is one of this route's."""
        there, mine = path.removesuffix("/").split("/"), self.path.split("/")
        return len(there) == len(mine) and all(
            part == name or (name == "{id}" and bool(part)) for part, name in zip(there, mine, strict=True)
        )


def _made(path: str) -> tuple[Route, ...]:
    """What is asked for, listed and looked at like a task, but is a part for other tasks: elements, voices, views."""
    source = "2.6 (B)"
    return Route("POST", path, source), Route("GET", path, source), Route("GET", f"{path}/{{id}}", source)


#: The synchronous rest of Kling's API. Source: spec section 2.6 (B, Cpk).
PASS_THROUGH: tuple[Route, ...] = (
    *_made("general/advanced-custom-elements"),
    Route("GET", "general/advanced-presets-elements", "2.6 (B)"),
    Route("POST", "general/delete-elements", "2.6 (B)"),
    Route("POST", "general/custom-elements", "2.6 (B), the older way"),
    *_made("general/custom-voices"),
    *_made("general/ai-multi-shot"),
    Route("GET", "general/presets-voices", "2.6 (B)"),
    Route("POST", "general/delete-voices", "2.6 (B)"),
    Route("POST", "videos/identify-face", "2.6 (B)"),
    Route("POST", "videos/multi-elements/init-selection", "2.6 (B, R)"),
    Route("POST", "videos/multi-elements/add-selection", "2.6 (B, R)"),
    Route("POST", "videos/multi-elements/delete-selection", "2.6 (B, R)"),
    Route("POST", "videos/multi-elements/clear-selection", "2.6 (B, R)"),
    Route("POST", "videos/multi-elements/preview-selection", "2.6 (B, R)"),
    Route("POST", "videos/image-recognize", "2.6 (B)"),
    Route("POST", "audio/tts", "2.6 (B)"),
    Route("GET", "/account/costs", "2.6 (B, Cpk)"),
)
