"""What callers are told, in Kling's words: a job as the task object that Kling itself would show.

Source of the shape: Kling's reference, "query task (single)" and "callback protocol".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from worker.jobs import events
from worker.jobs.model import OTHER, SERIES, Job, ResultFile, State

_STATUS = {
    State.WAITING: "submitted",
    State.ACCEPTED: "submitted",
    State.SUBMITTING: "submitted",
    State.RUNNING: "processing",
    State.COPYING: "processing",
    State.ARCHIVED: "succeed",
}

_STATE_OF = {events.inner(state): state for state in State}
#: Where a field stands that nobody knows, as far as it is shown there: in the result, or in an entry of a list. None
#: has the name of a list.
_LISTS = "videos|images|series_images|audios"
_PLACE = re.compile(rf"(?:(?P<list>{_LISTS})\[(?P<entry>[^]]+)\]\.)?(?P<field>(?!(?:{_LISTS})\Z)[A-Za-z0-9_-]+)")
#: What is told of a file beside its links.
_FILE_FACTS = (
    "kind",
    "variant",
    "ordinal",
    "bucket",
    "key",
    "size",
    "sha256",
    "content_type",
    "duration",
    "width",
    "height",
    "fps",
    "video_codec",
    "audio_codec",
    "damaged_frames",
)

#: Makes bucket and key into a URL that opens.
Link = Callable[[str, str], str]


def task_status(state: State) -> str:
    """Kling's word for one of our states. `succeed` is only said of a job whose files are safe."""
    return _STATUS.get(state, "failed")


def created(job: Job) -> dict[str, Any]:
    """The `data` of an answer to a create."""
    return {
        "task_id": job.id,
        "task_status": task_status(job.state),
        "task_info": _task_info(job),
        "created_at": milliseconds(job.created_at),
        "updated_at": milliseconds(job.updated_at),
    }


def task(job: Job, files: Sequence[ResultFile], link: Link) -> dict[str, Any]:
    """The `data` of an answer to a query."""
    shown: dict[str, Any] = {
        **created(job),
        "task_status_msg": status_message(job),
        "task_result": task_result(files, link) if job.state is State.ARCHIVED else {},
    }
    if job.units is not None:
        shown["final_unit_deduction"] = job.units
    return shown


@dataclass(frozen=True)
class Occurred:
    """An event of a job's timeline, as it is told."""

    type: str  #: in the timeline, such as job.archived
    sequence: int  #: place among the job's events, from 1
    at: datetime
    data: Mapping[str, Any]


def as_of(job: Job, occurred: Occurred) -> Job:
    """The job as it was then: an event that is told late must not tell what came after it."""
    state = _STATE_OF.get(occurred.type)
    if state is None or state is job.state:
        return job
    return replace(job, state=state, updated_at=occurred.at, error_code=None, error_message=None, units=None)


def callback(job: Job, files: Sequence[ResultFile], link: Link, occurred: Occurred) -> dict[str, Any]:
    """The body of a callback: Kling's flat payload with links into the bucket, and what is ours under `reelhook`."""
    then = as_of(job, occurred)
    return {**task(then, files, link), "reelhook": _ours(then, files, link, occurred)}


def event(job: Job, files: Sequence[ResultFile], link: Link, occurred: Occurred) -> dict[str, Any]:
    """The same in an envelope of Standard Webhooks: `{type, timestamp, data}`."""
    then = as_of(job, occurred)
    return _event(
        events.told_as(occurred.type), {**_ours(then, files, link, occurred), **task(then, files, link)}, occurred.at
    )


def refusal(external_task_id: object, code: int, message: str, now: datetime) -> dict[str, Any]:
    """The event of a request that never became a job."""
    data = {"task_info": {"external_task_id": external_task_id}, "code": code, "message": message}
    return _event(events.REFUSED.type, data, now)


def trial(subscription_id: str, now: datetime) -> dict[str, Any]:
    """The event that shows that a subscription's way is open."""
    return _event(events.TEST.type, {"subscription": subscription_id}, now)


def _event(kind: str, data: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    return {"type": kind, "timestamp": at.isoformat(), "data": dict(data)}


def _ours(job: Job, files: Sequence[ResultFile], link: Link, occurred: Occurred) -> dict[str, Any]:
    """What Kling's payload has no words for."""
    failed = job.error_code or job.error_message
    shown: dict[str, Any] = {
        "state": job.state,
        "sequence": occurred.sequence,
        "family": job.family,
        "account": job.account,
        "error": {"code": job.error_code, "message": job.error_message} if failed else None,
        "files": [_file(one, link) for one in files] if job.state is State.ARCHIVED else [],
    }
    if job.adopted_from:
        shown["adopted_from"] = job.adopted_from
    if reason := occurred.data.get("reason"):
        shown |= {"reason": reason, "message": occurred.data.get("message")}
    return shown


def _file(file: ResultFile, link: Link) -> dict[str, Any]:
    shown = {**{name: getattr(file, name) for name in _FILE_FACTS}, "url": link(file.bucket, file.key)}
    for name, key in (("poster", file.poster_key), ("sheet", file.sheet_key)):
        if key:
            shown |= {f"{name}_url": link(file.bucket, key), f"{name}_key": key}
    return shown


def status_message(job: Job) -> str:
    """Empty unless the job ended badly; then the reason, with our own state where it says more than `failed`."""
    if task_status(job.state) != "failed":
        return ""
    reason = job.error_message or "no reason is known"
    return reason if job.state is State.FAILED else f"{job.state}: {reason}"


def task_result(files: Sequence[ResultFile], link: Link) -> dict[str, Any]:
    """Kling's `task_result`: one entry for each place in a list, its variants side by side in it."""
    entries: dict[tuple[str, int], dict[str, Any]] = {}
    result: dict[str, Any] = {}
    if any(file.listed == SERIES for file in files):  # both lists are always there, says Kling's reference
        result = {"result_type": "series", "images": [], SERIES: []}
    for file in sorted((one for one in files if one.kind != OTHER), key=lambda one: (one.kind, one.ordinal)):
        place = file.kind, file.ordinal
        if place not in entries:
            entries[place] = _entry(file, result.setdefault(file.listed or f"{file.kind}s", []))
        entries[place] |= _variant(file, link(file.bucket, file.key))
    for file in files:
        if file.kind == OTHER and (found := _PLACE.fullmatch(file.variant)):
            _where(result, found).setdefault(found["field"], link(file.bucket, file.key))
    return result


def _where(result: dict[str, Any], place: re.Match[str]) -> dict[str, Any]:
    """What of `result` had a field that nobody knows: all of it, or an entry of a list. Another one is nobody's."""
    if place["list"] is None:
        return result
    entries: list[dict[str, Any]] = result.get(place["list"], [])
    named = place["entry"]
    return next((one for one in entries if named in {str(one.get("id")), str(one.get("index"))}), {})


def _entry(file: ResultFile, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Another entry of a list. Those of a series are counted behind the images, and have indices of their own."""
    index = len(entries) if file.listed else file.ordinal
    entries.append({"index": index} if file.kind == "image" else {"id": file.provider_id})
    return entries[-1]


def _variant(file: ResultFile, url: str) -> dict[str, Any]:
    """How Kling names a variant: a watermarked twin and the formats of a sound have fields of their own."""
    if file.variant == "watermarked":
        return {"watermark_url": url}
    duration = "" if file.duration is None else f"{file.duration:g}"
    if file.kind == "audio" and file.variant != "original":
        return {f"url_{file.variant}": url, f"duration_{file.variant}": duration}
    return {"url": url} if file.kind == "image" else {"url": url, "duration": duration}


def _task_info(job: Job) -> dict[str, Any]:
    return {"external_task_id": job.external_task_id} if job.external_task_id else {}


def milliseconds(moment: datetime) -> int:
    """Kling's unit of time."""
    return int(moment.timestamp() * 1000)
