"""The memory of a real worker, all its processes, while sixteen large files wait to be copied.

Proportional set size: a page that several processes share counts once. Where the kernel does not say it, there is no
figure.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from infra.db import make_engine
from infra.queue import Queue, make_celery
from infra.settings import load
from infra.stack.servers import Addresses
from tests.conftest import environment_for
from tests.fakes import MORNING
from worker import messages
from worker.jobs.machine import Event, Step
from worker.jobs.model import State
from worker.store.migrate import migrate
from worker.store.repository import NewJob, Repository

_COPIES = 16
_LIMIT_SECONDS = 150
_LOOK_SECONDS = 0.2
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def of_a_worker(addresses: Addresses, url: str, *, pool: str, at_once: int) -> float | None:
    """Peak MiB of a worker of so many processes or threads that copies `url` as sixteen jobs."""
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    values = environment_for(addresses, kling_url="http://a:s@127.0.0.1:9", public_url="http://127.0.0.1:9")
    settings = load(values)
    engine = make_engine(settings, application="bench")
    migrate(engine)
    store, queue = Repository(engine), Queue(make_celery(settings))
    job_ids = [f"{pool}{at_once}-{number}" for number in range(_COPIES)]
    for job_id in job_ids:
        _finished_task(store, job_id, url)
    command = ["-m", "celery", "-A", "worker.app", "worker", f"--pool={pool}", f"--concurrency={at_once}", *_QUIET]
    ran = subprocess.Popen(  # noqa: S603 - fixed
        [sys.executable, *command],
        env={**os.environ, **values},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        messages.send(queue, [messages.for_step(Step.ARCHIVE, job_id) for job_id in job_ids])
        return _peak(store, job_ids, ran.pid)
    finally:
        ran.send_signal(signal.SIGQUIT)
        with suppress(subprocess.TimeoutExpired):
            ran.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(ran.pid, signal.SIGKILL)
        ran.wait()
        engine.dispose()


def _finished_task(store: Repository, job_id: str, url: str) -> None:
    """A job whose task is done: its one film lies at `url`."""
    new = NewJob(job_id, "default", "default", "videos/omni-video", None, None, b"f", b"{}", model="kling-video-o1")
    job = store.accept(new, MORNING).job
    for event in (Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN, Event.TASK_SUCCEEDED):
        moved = store.move(job, event, MORNING, changes={"provider_task_id": "1"})
        assert moved is not None
        job = moved.job
    film = {"id": "7", "url": url, "duration": "5"}
    task = {"task_id": "1", "task_status": "succeed", "task_result": {"videos": [film]}}
    store.set_answer(job_id, json.dumps({"code": 0, "message": "", "request_id": "1", "data": task}).encode())


def _peak(store: Repository, job_ids: list[str], group: int) -> float:
    """The most that the group's processes had at one look, until all jobs are archived."""
    most, end = 0.0, time.monotonic() + _LIMIT_SECONDS
    while any(job is None or job.state is not State.ARCHIVED for job in map(store.get, job_ids)):
        if time.monotonic() > end:
            sys.exit(f"{_LIMIT_SECONDS} seconds were not enough for {len(job_ids)} copies")
        most = max(most, _pss_mib(group))
        time.sleep(_LOOK_SECONDS)
    return most


def _pss_mib(group: int) -> float:
    kib = 0
    for process in Path("/proc").iterdir():
        with suppress(OSError, ValueError, ProcessLookupError):
            if process.name.isdigit() and os.getpgid(int(process.name)) == group:
                kib += int((process / "smaps_rollup").read_text().partition("\nPss:")[2].split()[0])
    return kib / 1024
