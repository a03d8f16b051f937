"""The main job, end to end, on a stack of its own: submit, watch, and prove every file in the bucket."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from rich.console import Console
from rich.markup import escape

from infra.stack import s3 as the_s3
from infra.stack import samples
from infra.stack.demo_door import Door, Receiver, Refused
from infra.stack.demo_proof import NotProven, check_link, prove
from infra.stack.demo_requests import Media, requests_of
from infra.stack.demo_view import Followed, Progress, conclude
from infra.stack.deployment import Access, Deployment
from infra.stack.interrupt import Interrupted, one_interrupt
from infra.stack.process import StackError, tail

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Nothing takes longer than this, in seconds, or it is a failure.
LIMIT_SECONDS = 180
_LOOK_SECONDS = 0.25
_CALLBACK_SECONDS = 20.0
_INPUT_LINK_SECONDS = 3600
_WIDE = 170
_INTERRUPTED = 130


def run(console: Console, *, prompt: str | None, speed: float) -> int:
    """The exit code: 0 only if every file was proven, 130 after a signal. Nothing that it started stays."""
    if not console.is_terminal:
        console = Console(width=_WIDE)
    state = Path(tempfile.mkdtemp(prefix="reelhook-demo-"))
    deployment = Deployment(
        state,
        speed=speed,
        fast=True,
        more={"SWEEP_SECONDS": "1"},
        progress=lambda step: console.print(f"[dim]{escape(step)} ...[/dim]"),
    )
    code = 1
    unproven: Sequence[Followed] = ()
    try:
        with one_interrupt(), _limit():
            try:
                unproven = _play(console, deployment, prompt)
                code = 1 if unproven else 0
            except StackError as fault:
                console.print("\n[bold red]The demo failed:[/bold red]", escape(str(fault)), highlight=False)
    except Interrupted:
        console.print("\ninterrupted; ending everything ...")
        code = _INTERRUPTED
    finally:
        deployment.stop()
        if code == 1:
            _keep_logs(console, deployment.state / "logs", unproven)
        deployment.discard()
    return code


def _play(console: Console, deployment: Deployment, prompt: str | None) -> list[Followed]:
    """The jobs that were not proven."""
    begun = time.monotonic()
    with ThreadPoolExecutor(1, "samples") as pool, Receiver() as receiver:
        filming = pool.submit(samples.film)
        access = deployment.start().access
        console.print(f"the door is open after {time.monotonic() - begun:.1f} s: {access.url}\n", highlight=False)
        media = _upload(access, filming.result())
        jobs = [Followed(asked) for asked in requests_of(media, receiver.url, prompt)]
        for job in jobs:
            console.print(f"[dim]{job.asked.name:<20} {escape(job.asked.source)}[/dim]", highlight=False)
        console.print()
        door = Door(access.url, access.api_key)
        with Progress(console, jobs) as progress:
            _submit(door, jobs, progress)
            _follow(door, deployment, jobs, progress)
        _prove_all(console, door, access, receiver, jobs)
    conclude(console, jobs)
    unproven = [job for job in jobs if not job.proven or job.fault]
    asking = [job for job in jobs if job.asked.body.get("callback_url")]
    told = sum(receiver.success(job.task_id) is not None for job in asking)
    colour = "red" if unproven else "green"
    seconds = time.monotonic() - begun
    verdict = f"{len(jobs) - len(unproven)} of {len(jobs)} jobs proven, {told} of {len(asking)} callbacks received"
    console.print(f"\n[bold {colour}]{verdict}, in {seconds:.1f} s[/bold {colour}]", highlight=False)
    return unproven


def _upload(access: Access, film: bytes) -> Media:
    """Put the inputs into the bucket, and make links to them."""
    client, bucket = _client(access), access.servers.s3_bucket
    inputs = {
        "demo-inputs/reference.png": (samples.picture(1280, 720, "PNG"), "image/png"),
        "demo-inputs/base.mp4": (film, "video/mp4"),
    }
    for key, (body, content_type) in inputs.items():
        client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
    links = [
        client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=_INPUT_LINK_SECONDS
        )
        for key in inputs
    ]
    return Media(*links)


def _submit(door: Door, jobs: Sequence[Followed], progress: Progress) -> None:
    for job in jobs:
        job.begun = time.monotonic()
        try:
            job.task_id = door.submit(job.asked)
            job.state = "accepted"
        except Refused as refusal:
            job.state, job.fault = "refused", f"the door refused it: {refusal}"
        progress.refresh()


def _follow(door: Door, deployment: Deployment, jobs: Sequence[Followed], progress: Progress) -> None:
    """Watch until every job is over. Raises `StackError` when a process keeps dying."""
    while waiting := [job for job in jobs if not job.over]:
        deployment.check()
        for job in waiting:
            _look(door, job)
        progress.refresh()
        time.sleep(_LOOK_SECONDS)


def _look(door: Door, job: Followed) -> None:
    try:
        shown = door.job(job.task_id)
    except (Refused, requests.RequestException) as fault:
        # The web process may be on its way back after a death; the overall limit bounds our patience.
        job.fault = str(fault)
        return
    job.fault = f"{shown['error']['code']} {shown['error']['message']}" if shown.get("error") else ""
    job.state = shown["state"]
    job.bytes_copied, job.bytes_total = shown["bytes_copied"] or 0, shown["bytes_total"]
    job.seconds = time.monotonic() - job.begun


def _prove_all(console: Console, door: Door, access: Access, receiver: Receiver, jobs: Sequence[Followed]) -> None:
    client = _client(access)
    with console.status("reading every file back from the bucket ..."):
        for job in jobs:
            if job.state != "archived":
                job.fault = job.fault or f"it ended as {job.state}"
                continue
            try:
                shown = door.job(job.task_id)
                proven = prove(shown, job.asked, client, access.servers.s3_bucket)
                for file in proven:
                    check_link(file.url, file.seen.sha256)
                _check_task(door, job)
                if job.asked.body.get("callback_url"):
                    _check_callback(receiver, job)
                job.proven = proven
            except (NotProven, Refused, KeyError, requests.RequestException) as fault:
                job.fault = f"{type(fault).__name__}: {fault}"


def _check_task(door: Door, job: Followed) -> None:
    """Kling's own API must say the same."""
    task = door.task(job.asked, job.task_id)
    if task["task_status"] != "succeed":
        raise NotProven(f"Kling's API shows it as {task['task_status']}")


def _check_callback(receiver: Receiver, job: Followed) -> None:
    """The caller must have been told, with links that open."""
    end = time.monotonic() + _CALLBACK_SECONDS
    while (body := receiver.success(job.task_id)) is None:
        if time.monotonic() > end:
            raise NotProven(f"no callback said `succeed` within {_CALLBACK_SECONDS:g} s")
        time.sleep(0.05)
    videos = body["task_result"]["videos"]
    for video in videos:
        with requests.get(video["url"], stream=True, timeout=10) as answer:
            if not answer.ok:
                raise NotProven(f"a link in the callback answered {answer.status_code}")
    if not videos:
        raise NotProven("the callback named no video")


def _client(access: Access) -> S3Client:
    servers = access.servers
    return the_s3.client(servers.s3_endpoint_url, servers.s3_access_key_id, servers.s3_secret_access_key)


@contextmanager
def _limit() -> Iterator[None]:
    """Inside, the time that there is in all."""

    def over(_number: int, _frame: object) -> None:
        raise StackError(f"it was not done within {LIMIT_SECONDS} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _keep_logs(console: Console, logs: Path, unproven: Sequence[Followed]) -> None:
    """Copy the logs out of the state folder, and show the last lines where they may tell why."""
    kept = Path(tempfile.mkdtemp(prefix="reelhook-demo-logs-"))
    if logs.exists():
        shutil.copytree(logs, kept, dirs_exist_ok=True)
    taken = any(job.state != "refused" for job in unproven)
    for name in ("web", "worker") if taken else ():
        console.print(f"\n[bold]last lines of {name}:[/bold]")
        console.print(tail(kept / f"{name}.log"), markup=False, highlight=False, soft_wrap=True)
    console.print(f"\nAll logs are in {kept}", highlight=False, soft_wrap=True)
