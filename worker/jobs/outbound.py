"""What callers are told, in Kling's words: a job as the task object that Kling itself would show.

Source of the shape: Kling's reference, "query task (single)" and "callback protocol".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from worker.jobs.model import Job, ResultFile, State

_STATUS = {
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


def status_message(job: Job) -> str:
    """Empty unless the job ended badly; then the reason, with our own state where it says more than `failed`."""
    if task_status(job.state) != "failed":
        return ""
    reason = job.error_message or "no reason is known"
    return reason if job.state is State.FAILED else f"{job.state}: {reason}"


def task_result(files: Sequence[ResultFile], link: Link) -> dict[str, Any]:
    """Kling's `task_result`: originals under their kind, a watermarked twin as `watermark_url` beside them."""
    marked = {(file.kind, file.ordinal): file for file in files if file.variant == "watermarked"}
    result: dict[str, Any] = {}
    for file in sorted(files, key=lambda one: one.ordinal):
        if file.variant != "original":
            continue
        entry = _entry(file, link)
        if twin := marked.get((file.kind, file.ordinal)):
            entry["watermark_url"] = link(twin.key)
        result.setdefault(f"{file.kind}s", []).append(entry)
    return result


def _entry(file: ResultFile, link: Link) -> dict[str, Any]:
    if file.kind == "image":
        return {"index": file.ordinal, "url": link(file.key)}
    duration = "" if file.duration is None else f"{file.duration:g}"
    if file.kind == "audio":
        format_ = file.key.rpartition(".")[2]
        return {"id": file.provider_id, f"url_{format_}": link(file.key), f"duration_{format_}": duration}
    return {"id": file.provider_id, "url": link(file.key), "duration": duration}


def _task_info(job: Job) -> dict[str, Any]:
    return {"external_task_id": job.external_task_id} if job.external_task_id else {}


def milliseconds(moment: datetime) -> int:
    """Kling's unit of time."""
    return int(moment.timestamp() * 1000)
