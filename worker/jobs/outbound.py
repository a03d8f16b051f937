"""What callers are told, in Kling's words: a job as the task object that Kling itself would show.

Source of the shape: Kling's reference, "query task (single)" and "callback protocol".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from worker.jobs.model import Job, ResultFile, State

_STATUS = {
    State.WAITING: "submitted",
    State.ACCEPTED: "submitted",
    State.SUBMITTING: "submitted",
    State.RUNNING: "processing",
    State.COPYING: "processing",
    State.ARCHIVED: "succeed",
}

Link = Callable[[str], str]


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
    """The `data` of an answer to a query. `link` makes a key into a URL that opens."""
    shown: dict[str, Any] = {
        **created(job),
        "task_status_msg": status_message(job),
        "task_result": task_result(files, link) if job.state is State.ARCHIVED else {},
    }
    if job.units is not None:
        shown["final_unit_deduction"] = job.units
    return shown


def callback(job: Job, files: Sequence[ResultFile], link: Link) -> dict[str, Any]:
    """The body of a callback: Kling's flat payload, with links into the caller's own bucket."""
    return task(job, files, link)


def event(job: Job, files: Sequence[ResultFile], link: Link, now: datetime) -> dict[str, Any]:
    """The same as an event: `{type, timestamp, data}`, the type naming our own state."""
    return _event(f"video.{job.state}", {"state": job.state, **task(job, files, link)}, now)


def refusal(external_task_id: object, code: int, message: str, now: datetime) -> dict[str, Any]:
    """The event of a request that never became a job."""
    data = {"task_info": {"external_task_id": external_task_id}, "code": code, "message": message}
    return _event("video.refused", data, now)


def _event(kind: str, data: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    return {"type": kind, "timestamp": now.isoformat(), "data": dict(data)}


def status_message(job: Job) -> str:
    """Empty unless the job ended badly; then the reason, with our own state where it says more than `failed`."""
    if task_status(job.state) != "failed":
        return ""
    reason = job.error_message or "no reason is known"
    return reason if job.state is State.FAILED else f"{job.state}: {reason}"


def task_result(files: Sequence[ResultFile], link: Link) -> dict[str, Any]:
    """Kling's `task_result`: one entry for each place in a list, its variants side by side in it."""
    entries: dict[tuple[str, int], dict[str, Any]] = {}
    for file in sorted(files, key=lambda one: (one.kind, one.ordinal)):
        entry = entries.setdefault((file.kind, file.ordinal), _entry(file))
        entry |= _variant(file, link(file.key))
    result: dict[str, Any] = {}
    for (kind, _), entry in entries.items():
        result.setdefault(f"{kind}s", []).append(entry)
    return result


def _entry(file: ResultFile) -> dict[str, Any]:
    return {"index": file.ordinal} if file.kind == "image" else {"id": file.provider_id}


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
