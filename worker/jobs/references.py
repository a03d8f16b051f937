"""How a request names what an earlier job made: `reelhook://JOB/files/0`, and `after`.

JOB is our id or the caller's own, percent-encoded where it holds what a URL can't.

>>> parse("reelhook://order-7/files/0")
Reference(name='order-7', part='files', ordinal=0)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from worker.jobs.model import ResultFile

#: The field of a request that names earlier jobs. It is ours: it is never sent.
FIELD = "after"
SCHEME = "reelhook://"
#: Earlier jobs that one request may name, and how many may stand one on another.
MOST_EARLIER = 20
DEEPEST = 20
_REFERENCE = re.compile(
    r"reelhook://(?P<name>[^/?#\s]+)/(?:files/(?P<ordinal>0|[1-9]\d?)|(?P<part>poster|video_id|audio_id))"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LONGEST_NAME = 255
_FORMS = "must be reelhook://JOB/ and then files/N, poster, video_id or audio_id"
#: What a part is, where that does not depend on what its job makes; and what its job has to make.
_PARTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"poster": ("image", "video"), "video_id": ("video_id", "video"), "audio_id": ("audio_id", "audio")}
)
#: A task that makes several images says how many; Kling makes no more than these.
_MOST_IMAGES = 9


class BadReference(ValueError):
    """What names an earlier job can't be understood, or won't do."""


@dataclass(frozen=True)
class Reference:
    """A part of what an earlier job makes."""

    name: str  #: our id or the caller's
    part: str  #: files, poster, video_id or audio_id
    ordinal: int = 0  #: place in the provider's list of outputs, from 0

    @property
    def path(self) -> str:
        """As it stands behind the job."""
        return f"files/{self.ordinal}" if self.part == "files" else self.part

    @property
    def is_id(self) -> bool:
        """Whether it stands for an id that only the provider's account knows."""
        return self.part.endswith("_id")


def parse(text: str) -> Reference:
    """The reference in `text`. Raises `BadReference`."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise BadReference(f"{_FORMS}, found {text[:80]!r}")
    return Reference(_named(unquote(found["name"])), found["part"] or "files", int(found["ordinal"] or 0))


def names(after: object) -> tuple[str, ...]:
    """The jobs that `after` names: a string or a list of strings; nothing for null and what is empty."""
    listed = [after] if isinstance(after, str) else after or []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise BadReference(f"{FIELD}: must be a job's id, or a list of such")
    return tuple(dict.fromkeys(_named(name) for name in listed if name))


def without(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """`body` without our own field, which the provider does not know."""
    return {name: value for name, value in body.items() if name != FIELD} if FIELD in body else body


def unfit(reference: Reference, *, wanted: str, made: str, outputs: int) -> str | None:
    """Why a reference can't stand where `wanted` is; None when it can.

    `wanted`: image, video, audio, video_id or audio_id. `made`: the kind of thing that the job makes. `outputs`: how
    many, 1 where nobody knows.
    """
    if reason := lacks(reference, made):
        return reason
    gives, _ = _PARTS.get(reference.part, (made, made))
    if gives != wanted:
        return f"would give {gives} here, and the field takes {wanted}"
    most = (outputs if outputs > 1 else _MOST_IMAGES) if made == "image" else 1
    return None if reference.ordinal < most else f"names output {reference.ordinal}, and the job makes {most}, from 0"


def lacks(reference: Reference, made: str) -> str | None:
    """Why a job that makes `made` (video, image or audio) can never have what a reference names; None where it may."""
    _, needs = _PARTS.get(reference.part, (made, made))
    return None if needs == made else f"has no {reference.part}, it makes {made}s"


def pick(reference: Reference, files: Sequence[ResultFile], made: str) -> tuple[str, ResultFile] | None:
    """What a reference stands for among a job's proven files, an id or a key in the bucket, and the file that it is of.

    Only files of the kind that the job `made` count: a sound that comes with a film is none of its outputs. Of several
    variants it is the one without a watermark; of a sound the MP3. None when there is no such file.
    """
    of_kind = [file for file in files if file.kind == made and file.variant != "watermarked"]
    there = [file for file in of_kind if file.ordinal == reference.ordinal]
    file = min(there, key=lambda one: (one.variant != "original", one.variant), default=None)
    if file is None:
        return None
    value = {"poster": file.poster_key, "files": file.key}.get(reference.part, file.provider_id)
    return (value, file) if value else None


def _named(name: str) -> str:
    if not name or len(name) > _LONGEST_NAME or _CONTROL.search(name):
        raise BadReference(f"a job's name must be 1 to {_LONGEST_NAME} plain characters, found {name[:40]!r}")
    return name
