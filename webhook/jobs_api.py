"""What Kling's API cannot say of a job: our own state, its bytes, its files, its timeline."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from infra.settings import LONGEST_LINK
from webhook import forms
from webhook.documented import Operation, documented
from webhook.problems import Problem
from webhook.shapes import JobShown, Timeline
from webhook.wiring import Door, door
from worker import messages
from worker.jobs import keys
from worker.jobs.chain import overall
from worker.jobs.machine import Event
from worker.jobs.model import Job, ResultFile, State

api = Blueprint("jobs", __name__)


class Links(forms.Form):
    """For how long links shall open."""

    link_seconds: int | None = Field(
        None,
        ge=1,
        le=LONGEST_LINK,
        description=f"for how long its links open: 1 to {LONGEST_LINK} seconds, as no store signs for over seven days",
    )


@api.get("/jobs/<name>")
@documented(Operation("Look at a job", "jobs", JobShown, path=forms.NAMED, query=Links, problems=(404,)))
def one(name: str) -> ResponseReturnValue:
    """A job by our id or the caller's own."""
    here = door()
    job = _mine(here, name)
    return jsonify(_shown(here, job, here.store.files([job.id])[job.id], forms.query(Links).link_seconds))


@api.post("/jobs/<name>/cancel")
@documented(Operation("Cancel a job", "jobs", JobShown, path=forms.NAMED, problems=(404, 409)))
def cancel(name: str) -> ResponseReturnValue:
    """End a job that the provider was not asked for yet. Kling has no way to take a task back, so later it is 409."""
    here = door()
    job = _mine(here, name)
    moved = None if job.submissions else here.store.move(job, Event.CANCEL_ASKED, here.clock())
    if moved is None:
        raise Problem(409, "the job can't be cancelled any more", f"it is {job.state}, and Kling takes no task back")
    messages.send(here.queue, messages.after(job.id, None, moved.deliveries, moved.woken))
    return jsonify(_shown(here, moved.job, []))


@api.get("/jobs/<name>/timeline")
@documented(Operation("What happened to a job", "jobs", Timeline, path=forms.NAMED, problems=(404,)))
def timeline(name: str) -> ResponseReturnValue:
    """What happened to a job, in order: its moves, and the callbacks that came for it."""
    here = door()
    job = _mine(here, name)
    moves = [{**event, "at": event["at"].isoformat()} for event in here.store.timeline(job.id)]
    heard = [{**row, "received_at": row["received_at"].isoformat()} for row in here.inbox.of(job.id)]
    return jsonify({"id": job.id, "events": moves, "callbacks": heard})


def _mine(here: Door, name: str) -> Job:
    return forms.job_of(here, forms.asker(here), name)


def _shown(here: Door, job: Job, files: list[ResultFile], seconds: int | None = None) -> dict[str, Any]:
    failed = job.error_code or job.error_message
    manifest = job.manifest_key
    if manifest is None and job.state is State.ARCHIVED:  # by a version that did not write it down
        manifest = keys.manifest_key(here.settings.s3_key_template, job)
    bucket = files[0].bucket if files else job.bucket or here.settings.s3_bucket
    return {
        "id": job.id,
        "family": job.family,
        "model": job.model,
        "state": job.state,
        "external_task_id": job.external_task_id,
        "provider_task_id": job.provider_task_id,
        "adopted_from": job.adopted_from,
        "adopted_by": other.id if job.is_stray and (other := here.store.adoptions.by(job.id)) else None,
        "created_at": job.created_at.isoformat(),
        "updated_at": job.updated_at.isoformat(),
        "bytes_copied": job.bytes_copied,
        "bytes_total": job.bytes_total,
        "account": job.account,
        "cost": {
            "expected_units": job.expected_units,
            "list_price_usd": job.list_price,
            "final_unit_deduction": job.units,
        },
        "error": {"code": job.error_code, "message": job.error_message} if failed else None,
        "bucket": bucket,
        "manifest_key": manifest,
        "manifest_url": here.link(bucket, manifest, seconds) if manifest else None,
        **_chain(here, job),
        "files": [_file(here, file, seconds) for file in files],
    }


def _file(here: Door, file: ResultFile, seconds: int | None) -> dict[str, Any]:
    """A file, with links to it and to its pictures that open for a while."""
    keys_of = {"url": file.key, "poster_url": file.poster_key, "sheet_url": file.sheet_key}
    links = {name: here.link(file.bucket, key, seconds) if key else None for name, key in keys_of.items()}
    return {**asdict(file), **links}


def _chain(here: Door, job: Job) -> dict[str, Any]:
    """The jobs that it stands on and that stand on it, and all of them as one; nothing where it stands alone."""
    if not job.depth and not job.awaited:
        return {}
    after, then = here.store.chains.neighbours(job.id)
    members = here.store.chains.members(job.id)
    shown = [
        {"id": one.id, "external_task_id": one.external_task_id, "family": one.family, "state": one.state}
        for one in members
    ]
    states = [one.state for one in members]
    chain = {"state": overall(states), "archived": states.count(State.ARCHIVED), "of": len(states), "jobs": shown}
    return {"after": after, "then": then, "chain": chain}
