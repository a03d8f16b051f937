"""What Kling and the gateways answer, read into one shape.

Read are the legacy envelope, the new design standard (`id`, `status`, `outputs`, lists), CometAPI's older wrapper with
the task one level deeper, and answers that carry the task without an envelope. Source: spec sections 5 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import Any, NamedTuple

from worker.jobs.model import OTHER, SERIES
from worker.kling.links import links
from worker.kling.redact import clean


class TaskStatus(Enum):
    """Where a task stands, whatever the word for it."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNRECOGNISED = "unrecognised"  #: a word that no edition knows; not an end


#: Both of Kling's spellings, and those of gateways (CometAPI's wrapper, OpenAI-like ones).
_WORDS = {
    "submitted": TaskStatus.SUBMITTED,
    "queued": TaskStatus.SUBMITTED,
    "pending": TaskStatus.SUBMITTED,
    "not_start": TaskStatus.SUBMITTED,
    "processing": TaskStatus.PROCESSING,
    "in_progress": TaskStatus.PROCESSING,
    "succeed": TaskStatus.SUCCEEDED,
    "succeeded": TaskStatus.SUCCEEDED,
    "success": TaskStatus.SUCCEEDED,
    "completed": TaskStatus.SUCCEEDED,
    "failed": TaskStatus.FAILED,
    "failure": TaskStatus.FAILED,
}
#: Those that say of a task only that it goes on.
GOES_ON = tuple(word for word, status in _WORDS.items() if status in {TaskStatus.SUBMITTED, TaskStatus.PROCESSING})


@dataclass(frozen=True, slots=True)
class Output:
    """One file of a task."""

    kind: str  #: video, image, audio or other
    variant: str  #: original, watermarked, mp3 or wav; of other: where it stands in the result
    ordinal: int  #: place in the task's list of that kind, from 0
    id: str | None
    url: str
    duration: str | None  #: seconds, as the provider prints them
    listed: str | None = None  #: the list that it stands in, where that is not the one of its kind


@dataclass(frozen=True, slots=True)
class Task:
    """A task as its provider shows it. Ids are strings with all their digits."""

    task_id: str
    status: TaskStatus
    status_word: str
    message: str
    external_task_id: str | None
    outputs: tuple[Output, ...]
    created_at_ms: int | None
    updated_at_ms: int | None
    units: str | None  #: what was deducted, a decimal
    raw: Mapping[str, Any]  #: all of it, fields that nobody knows included
    left_out: int = 0  #: links of fields that nobody knows, beyond as many as are files of one task


class Claim(NamedTuple):
    """Where a task is said to stand."""

    task_id: str
    status: TaskStatus
    status_word: str


def claim_of(payload: Mapping[str, Any]) -> Claim | None:
    """Which task `payload` names, and where it says that it stands; None when it names none."""
    return _claim(_unwrapped(payload))


def task_of(payload: Mapping[str, Any]) -> Task | None:
    """The task that `payload` shows; None when it names none."""
    payload = _unwrapped(payload)
    claim = _claim(payload)
    if claim is None:
        return None
    outputs, left_out = _outputs(payload)
    return Task(
        task_id=claim.task_id,
        status=claim.status,
        status_word=claim.status_word,
        message=_message(payload),
        external_task_id=_own_id(payload),
        outputs=outputs,
        created_at_ms=_time(payload.get("created_at", payload.get("create_time"))),
        updated_at_ms=_time(payload.get("updated_at", payload.get("update_time"))),
        units=_units(payload),
        raw=payload,
        left_out=left_out,
    )


def _claim(payload: Mapping[str, Any]) -> Claim | None:
    named = text_of(payload.get("task_id"))
    task_id = named or text_of(payload.get("id"))
    word = text_of(payload.get("task_status")) or text_of(payload.get("status"))
    # One gateway answers a create with a bare task_id; an `id` alone could be anything's.
    if task_id is None or (word is None and named is None):
        return None
    return Claim(task_id, _WORDS.get((word or "").lower(), TaskStatus.UNRECOGNISED), word or "")


def _own_id(payload: Mapping[str, Any]) -> str | None:
    info = payload.get("task_info")
    told = info.get("external_task_id") if isinstance(info, Mapping) else None
    return text_of(told) or text_of(payload.get("external_task_id")) or text_of(payload.get("external_id"))


def _message(payload: Mapping[str, Any]) -> str:
    """Why a task failed, fit for a log; "" where nothing is said."""
    error = payload.get("error")
    nested = error.get("message") if isinstance(error, Mapping) else None
    told = (payload.get("task_status_msg"), payload.get("message"), payload.get("fail_reason"), nested)
    return clean(next(filter(None, map(text_of, told)), ""))


def text_of(value: object) -> str | None:
    """A non-empty string, or a whole number in all its digits; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value.bit_length() < 256 else None
    return value if isinstance(value, str) and value else None


def _unwrapped(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = payload.get("data")
    return (_merged(payload, inner) or payload) if isinstance(inner, Mapping) else payload


def _merged(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The task inside a wrapper; the wrapper's id and status stand in where the task has none."""
    if not ("task_id" in inner or "task_status" in inner or "task_result" in inner):
        return None
    around = {name: outer[name] for name in ("task_id", "status") if name in outer}
    return {**around, **{name: value for name, value in inner.items() if name != "data"}}


def _outputs(payload: Mapping[str, Any]) -> tuple[tuple[Output, ...], int]:
    """The files of a task, and how many links more it has of which nobody knows what they are."""
    result, outputs = payload.get("task_result"), payload.get("outputs")
    if isinstance(result, Mapping) and result:
        named = tuple(_of_lists(result))
    elif isinstance(outputs, list) and outputs:
        named = tuple(_of_typed(outputs))
    else:
        # Gateways with one video a task answer with its address alone.
        return tuple(_files("video", 0, {"url": payload.get("url")}, {"url": "original"})), 0
    # What fields link to that no edition has was paid for, too.
    unknown, left_out = links(result or {"outputs": outputs}, {one.url for one in named})
    return (*named, *(Output(OTHER, place, 0, None, url, None) for place, url in unknown)), left_out


def _of_lists(result: Mapping[str, Any]) -> Iterator[Output]:
    """Legacy: `videos`, `images` (and a series of them), `audios`."""
    for ordinal, item in enumerate(_items(result, "videos")):
        yield from _files("video", ordinal, item, {"url": "original", "watermark_url": "watermarked"})
    images, marked = _items(result, "images"), {"url": "original", "watermark_url": "watermarked"}
    for ordinal, item in _numbered(images):
        yield from _files("image", ordinal, item, marked)
    for ordinal, item in _numbered(_items(result, SERIES), len(images)):
        yield from _files("image", ordinal, item, marked, SERIES)
    for ordinal, item in enumerate(_items(result, "audios")):
        yield from _files("audio", ordinal, item, {"url": "original", "url_mp3": "mp3", "url_wav": "wav"})


def _numbered(items: list[Mapping[str, Any]], start: int = 0) -> list[tuple[int, Mapping[str, Any]]]:
    """Items by their place: the provider's `index`, where that tells them apart, or else their order, which another
    answer need not keep.
    """
    named = {item["index"]: item for item in items if type(item.get("index")) is int}
    if set(named) == set(range(len(items))):
        return [(start + index, named[index]) for index in range(len(items))]
    return list(enumerate(items, start))


def _of_typed(outputs: list[Any]) -> Iterator[Output]:
    """New design standard: one list, each entry with its type."""
    counters = {"video": count(), "image": count(), "audio": count()}
    names = {"url": "original", "watermark_url": "watermarked", "mp3_url": "mp3", "wav_url": "wav"}
    for item in outputs:
        if isinstance(item, Mapping) and (kind := item.get("type")) in ("video", "image", "audio"):
            yield from _files(str(kind), next(counters[str(kind)]), item, names)


def _items(result: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The entries of a list; some gateways have bare addresses in it."""
    value = result.get(name)
    entries = [{"url": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else []
    return [item for item in entries if isinstance(item, Mapping)]


def _files(
    kind: str, ordinal: int, item: Mapping[str, Any], names: Mapping[str, str], listed: str | None = None
) -> Iterator[Output]:
    for name, variant in names.items():
        if isinstance(url := item.get(name), str) and url:
            duration = item.get("duration") or item.get(f"duration_{variant}") or item.get(f"{variant}_duration")
            yield Output(kind, variant, ordinal, text_of(item.get("id")), url, _decimal(duration), listed)


def _units(payload: Mapping[str, Any]) -> str | None:
    units = _decimal(payload.get("final_unit_deduction"))
    billing = payload.get("billing")
    if units is not None or not isinstance(billing, list):
        return units
    rows = [row for row in billing if isinstance(row, Mapping) and row.get("charge_type") == "unit"]
    return _decimal(rows[0].get("amount")) if rows else None


def _decimal(value: object) -> str | None:
    if isinstance(value, float):
        return repr(value)
    return text_of(value)


def _time(value: object) -> int | None:
    """A moment in ms since the epoch; some gateways count seconds."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 10**17:
        return None
    return value * 1000 if value < 10**11 else value
