"""What the receiver is measured against: what most people write, and a handler that keeps nothing. For gunicorn."""

from __future__ import annotations

import os

from celery import Celery
from flask import Flask, request

tasks = Celery("baseline", broker=os.environ.get("BASELINE_BROKER", "redis://"))
tasks.conf.task_ignore_result = True

delaying = Flask("delaying")
forgetting = Flask("forgetting")


@tasks.task(name="baseline.handle")
def handle(payload: object) -> None:
    """Nobody runs it: only the sending is measured."""


@delaying.post("/callbacks/kling/<job>/<token>")
def delay(job: str, token: str) -> tuple[str, int]:
    """A message to a worker, and done."""
    handle.delay(request.get_json())
    return "", 204


@forgetting.post("/callbacks/kling/<job>/<token>")
def forget(job: str, token: str) -> tuple[str, int]:
    """Done."""
    return "", 204
