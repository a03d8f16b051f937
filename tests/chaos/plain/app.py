"""The same job as most people write it: Flask, Celery on Redis, no rows. What Reelhook is compared with.

It shares nothing with Reelhook, and is meant to be good of its kind: late acknowledgement, messages of lost workers put
back, errors retried with back-off, one file name for each job. Its visibility timeout is far below the usual hour, and
restored often, so that whatever its broker can give back comes back while the harness still waits.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import boto3
import jwt
import requests
from celery import Celery, Task
from flask import Flask, request

_SECONDS = 30
_KLING = urlsplit(os.environ["KLING_URL"])
_CREATE = f"http://{_KLING.hostname}:{_KLING.port}/v1/videos/omni-video"


class Steady(Task[Any, Any]):
    """A task that is tried again when the network or a server fails."""

    autoretry_for = (requests.RequestException,)
    retry_backoff = 1
    retry_backoff_max = 10
    max_retries = None


celery = Celery("plain", broker=os.environ["REDIS_URL"], task_cls=Steady)
celery.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": int(os.environ["PLAIN_VISIBILITY_SECONDS"]),
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
    },
)
web = Flask(__name__)


@web.get("/healthz")
@web.get("/readyz")
def ready() -> str:
    """It runs."""
    return ""


@web.post("/videos")
def create() -> tuple[dict[str, str], int]:
    """Take a job: its name, the request, and where to announce the file."""
    asked = request.get_json()
    submit.delay(asked["job"], asked["request"], asked["callback_url"])
    return {"job": asked["job"]}, 202


@celery.task(bind=True)
def submit(task: Task[Any, Any], job: str, body: dict[str, Any], url: str) -> None:
    """Ask Kling, and come back for the result."""
    # Kling wants each external id once. A new one with each request is as good as none, and lets the harness count.
    answer = requests.post(
        _CREATE, json={**body, "external_task_id": f"{job}.{uuid.uuid4().hex}"}, headers=_signed(), timeout=_SECONDS
    )
    if answer.status_code == 429:
        raise task.retry(countdown=1)
    answer.raise_for_status()
    poll.apply_async((job, answer.json()["data"]["task_id"], url), countdown=1)


@celery.task(bind=True)
def poll(task: Task[Any, Any], job: str, task_id: str, url: str) -> None:
    """Look whether the task has ended."""
    answer = requests.get(f"{_CREATE}/{task_id}", headers=_signed(), timeout=_SECONDS)
    answer.raise_for_status()
    found = answer.json()["data"]
    if found["task_status"] == "succeed":
        copy.delay(job, found["task_result"]["videos"][0]["url"], url)
    elif found["task_status"] == "failed":
        announce.delay(job, "failed", url)
    else:
        raise task.retry(countdown=1)


@celery.task(bind=True)
def copy(_task: Task[Any, Any], job: str, source: str, url: str) -> None:
    """Carry the file into the bucket."""
    bucket = boto3.client(
        "s3",
        endpoint_url=os.environ["S3_ENDPOINT_URL"],
        aws_access_key_id=os.environ["S3_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["S3_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    with requests.get(source, stream=True, timeout=_SECONDS) as answer, tempfile.TemporaryFile() as file:
        answer.raise_for_status()
        for chunk in answer.iter_content(2**20):
            file.write(chunk)
        file.seek(0)
        bucket.upload_fileobj(file, os.environ["S3_BUCKET"], f"{job}.mp4")
    announce.delay(job, "succeed", url)


@celery.task(bind=True)
def announce(_task: Task[Any, Any], job: str, status: str, url: str) -> None:
    """Tell the app."""
    requests.post(url, json={"task_id": job, "task_status": status}, timeout=_SECONDS).raise_for_status()


def _signed() -> dict[str, str]:
    now = int(time.time())
    claims = {"iss": _KLING.username, "exp": now + 1800, "nbf": now - 5}
    return {"Authorization": f"Bearer {jwt.encode(claims, _KLING.password or '', 'HS256')}"}
