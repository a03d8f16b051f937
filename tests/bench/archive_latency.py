"""From a callback to `archived`, as a multiple of one bare GET and PUT of the same file.

In it: the callback over HTTP, its row; the query to Kling (the emulator, on loopback) and its rows; the lease, the file
fetched, hashed, stored, asked for, its first and last frame decoded, poster and contact sheet made and stored, the
manifest, the rows. Not in it: the broker's two hops, since the messages are worked off at once in this process.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import av
import requests
from PIL import Image

from infra.db import make_engine
from infra.emulator import Config, Emulator
from infra.settings import load
from infra.stack.servers import Addresses
from tests.bench.archive_ways import Load, floor
from tests.conftest import environment_for
from tests.house import House, RealTimeProvider, house
from worker import messages
from worker.jobs.model import Job, State
from worker.jobs.tokens import callback_token
from worker.kling.wire import Task, TaskStatus, read_task
from worker.store.migrate import migrate

#: Jobs, however slow.
_LEAST = 5


@dataclass(frozen=True)
class Elsewhere(RealTimeProvider):
    """Kling, but that its result links lead to our origin."""

    film_url: str = ""

    def query(self, job: Job, now: datetime) -> tuple[Task, bytes]:
        """As `Provider` does, with another link."""
        task, answer = super().query(job, now)
        for output in task.outputs:
            answer = answer.replace(output.url.encode(), self.film_url.encode())
        return read_task(200, {}, answer), answer


def latency(addresses: Addresses, bare: Load, count: int, *, seconds: float) -> Mapping[str, float]:
    """Median and 99th percentile of the multiple, and the median seconds of both, of `count` jobs or as many as begin
    in `seconds`.
    """
    logging.disable(logging.INFO)
    copy = floor(bare)
    ours, floors = [], []
    values = environment_for(addresses)
    engine = make_engine(load(values), application="bench")
    migrate(engine)
    with (
        Emulator(Config(speed=3000, log=False)) as emulator,
        house(addresses, engine, emulator, KLING_PACE="0.001") as home,
    ):
        kept = {name: value for name, value in vars(home.services.provider).items() if not name.startswith("_")}
        home.services.__dict__["provider"] = Elsewhere(**kept, film_url=bare.url)
        end = time.monotonic() + seconds
        for number in range(count + 1):
            if number > _LEAST and time.monotonic() > end:
                break
            took = _one(home)
            began = time.perf_counter()
            copy(number)
            if number:  # the first one warms up
                ours.append(took)
                floors.append(time.perf_counter() - began)
    engine.dispose()
    logging.disable(logging.NOTSET)
    middle = statistics.median(floors)
    slow = statistics.quantiles(ours, n=100, method="inclusive")[98]
    return {
        "median": statistics.median(ours) / middle, "p99": slow / middle,
        "jobs": len(ours), "median_seconds": statistics.median(ours), "bare_seconds": middle,
    }  # fmt: skip


def _one(home: House) -> float:
    """Seconds from our callback until the job is archived. The emulator's own one came before, for nothing."""
    job_id = home.submit()
    home.run((messages.SUBMIT, "", (job_id,)))
    job = home.services.store.get(job_id)
    assert job is not None
    while home.services.provider.query(job, datetime.now(UTC))[0].status is not TaskStatus.SUCCEEDED:
        time.sleep(0.02)
    assert home.state(job_id) is State.RUNNING, home.timeline(job_id)
    home.queue.sent.clear()
    token = callback_token(home.settings.secret, job_id)
    said: dict[str, Any] = {
        "task_id": job_id,
        "task_status": "succeed",
        "updated_at": int(datetime.now(UTC).timestamp()),
    }
    began = time.perf_counter()
    answer = requests.post(f"{home.url}/callbacks/kling/{job_id}/{token}", json=said, timeout=10)
    answer.raise_for_status()
    home.run((messages.FOLLOW_UP, "", (job_id,)))
    home.run((messages.ARCHIVE, "", (job_id,)))
    seconds = time.perf_counter() - began
    assert home.state(job_id) is State.ARCHIVED, home.timeline(job_id)
    home.queue.sent.clear()
    return seconds


def real_film(seconds: int = 5) -> bytes:
    """A film of about 5 MB whose bytes are all picture: 1280x720, 24 frames a second, one key frame, H.264."""
    width, height = 1280, 720
    noise = Image.effect_noise((width * 2, height * 2), 60).convert("RGB")
    with NamedTemporaryFile(suffix=".mp4") as out, av.open(out.name, "w", options={"movflags": "faststart"}) as made:
        stream = made.add_stream("libx264", rate=24, options={"preset": "veryfast"})
        stream.bit_rate = 8_000_000
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(24 * seconds):
            left, top = number * 409 % width, number * 233 % height  # farther than an encoder looks for motion
            image = noise.crop((left, top, left + width, top + height))
            made.mux(stream.encode(av.VideoFrame.from_image(image)))  # type: ignore[no-untyped-call]  # PyAV's own
        made.mux(stream.encode())
        made.close()
        return Path(out.name).read_bytes()
