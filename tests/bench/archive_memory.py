"""The memory of a real worker, all its processes, while large films wait to be copied.

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
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from infra.db import make_engine
from infra.queue import Queue, make_celery
from infra.settings import load
from infra.stack.procfile import parse, shell
from infra.stack.servers import Addresses
from tests.conftest import environment_for
from tests.fakes import MORNING
from worker import messages
from worker.jobs.machine import Event, Step
from worker.jobs.model import State
from worker.store.migrate import migrate
from worker.store.repository import NewJob, Repository

_LIMIT_SECONDS = 150
_LOOK_SECONDS = 0.2
#: The worker that a platform starts unless told otherwise.
DEFAULT = parse((Path(__file__).parents[2] / "Procfile").read_text())["worker"]
#: One that has sixteen copies under way.
SIXTEEN = DEFAULT.replace("--concurrency=${WORKER_CONCURRENCY:-4}", "--pool=threads --concurrency=16")


def pss_mib(group: int) -> float:
    """What the processes of a group have."""
    return sum(_kib(process / "smaps_rollup", "Pss") for process in _processes(group)) / 1024


def most_mib(group: int) -> float:
    """What they had at most, if each had its most at the same time: no look can come too late for it."""
    given_back = sum(_kib(one / "status", "VmHWM") - _kib(one / "status", "VmRSS") for one in _processes(group))
    return pss_mib(group) + given_back / 1024


def of_a_worker(
    addresses: Addresses, url: str, *, command: str, copies: int, look: Callable[[int], float] = pss_mib
) -> float | None:
    """The most MiB that `look` finds of a worker started by `command` that copies `url` as so many jobs."""
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    values = environment_for(addresses)
    settings = load(values)
    engine = make_engine(settings, application="bench")
    migrate(engine)
    store, queue = Repository(engine), Queue(make_celery(settings))
    job_ids = [f"memory{os.getpid()}-{time.monotonic_ns()}-{number}" for number in range(copies)]
    for job_id in job_ids:
        _finished_task(store, job_id, url)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.Popen(  # noqa: S603 - the project's own
        shell(command),
        env={**os.environ, **values, "PATH": programs},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        messages.send(queue, [messages.for_step(Step.ARCHIVE, job_id) for job_id in job_ids])
        return _peak(store, job_ids, ran.pid, look)
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


def _peak(store: Repository, job_ids: list[str], group: int, look: Callable[[int], float]) -> float:
    """The most that was found at one look, until all jobs are archived."""
    most, end = 0.0, time.monotonic() + _LIMIT_SECONDS
    while any(job is None or job.state is not State.ARCHIVED for job in map(store.get, job_ids)):
        if time.monotonic() > end:
            sys.exit(f"{_LIMIT_SECONDS} seconds were not enough for {len(job_ids)} copies")
        most = max(most, look(group))
        time.sleep(_LOOK_SECONDS)
    return max(most, look(group))


def _processes(group: int) -> Iterator[Path]:
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit() and os.getpgid(int(process.name)) == group:
                yield process


def _kib(file: Path, name: str) -> int:
    """A figure of a process; none of one that has ended."""
    try:
        return int(file.read_text().partition(f"\n{name}:")[2].split()[0])
    except (OSError, IndexError):
        return 0
