"""What a job is held against: a Celery app as the documentation begins it, whose task does nothing."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bare", broker=os.environ.get("BARE_BROKER", "redis://127.0.0.1:1"))
app.conf.task_ignore_result = True


@app.task(name="bare.nothing")
def nothing() -> None:
    """Do nothing."""
