"""A job whose task is done and whose files wait to be copied, and a worker that copies them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, cast

import av
from PIL import Image
from sqlalchemy import Engine

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.fakes import MORNING, FakeClock, FakeQueue
from tests.origin import File, Origin, origin
from worker.copier import Copier
from worker.jobs.machine import Event
from worker.jobs.model import Job, ResultFile, State
from worker.jobs.transfer import Transfer
from worker.kling.wire import Output, Task, TaskStatus
from worker.provider import Provider
from worker.services import Services
from worker.source import LeaseLost
from worker.store.aside import Aside
from worker.store.attention import Attention
from worker.store.repository import NewJob, Repository
from worker.store.runs import Runs
from worker.tasks.archive import archive
from worker.tasks.begin import Begin
from worker.tasks.book import LEASE
from worker.tasks.complaints import Complaints

#: Bytes of a part: the least that S3 allows.
PART = 5 * 2**20


@cache
def film(seconds: int = 1) -> bytes:
    """A real MP4 of 320x180 at 24 frames a second."""
    with NamedTemporaryFile(suffix=".mp4") as out, av.open(out.name, "w", options={"movflags": "faststart"}) as made:
        stream = made.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(24 * seconds):
            image = Image.new("RGB", (320, 180), (number * 5 % 255, 80, 120))
            frame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]  # PyAV leaves this one untyped
            made.mux(stream.encode(frame))
        made.mux(stream.encode())
        made.close()
        return Path(out.name).read_bytes()


def song() -> bytes:
    """A real MP4 with sound and no picture."""
    with NamedTemporaryFile(suffix=".mp4") as out, av.open(out.name, "w") as made:
        stream = made.add_stream("aac", rate=48000)
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        frame.sample_rate = 48000
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for number in range(40):
            frame.pts = number * 1024
            made.mux(stream.encode(frame))
        made.mux(stream.encode())
        made.close()
        return Path(out.name).read_bytes()


@dataclass
class FakeProvider:
    """A provider that says whatever `outputs` are now, as often as it is asked."""

    outputs: list[Output]
    asked: int = 0
    answer: bytes = b""  #: as it is kept

    def query(self, job: Job, now: datetime) -> tuple[Task, bytes]:  # noqa: ARG002 - as `Provider` does
        """The finished task."""
        self.asked += 1
        task = Task("1", TaskStatus.SUCCEEDED, "succeed", "", None, tuple(self.outputs), None, None, None, {})
        return task, self.answer


@dataclass
class Yard:
    """What a test touches."""

    store: Repository
    bucket: ObjectStore
    copier: Copier
    provider: FakeProvider
    aside: Aside
    runs: Runs
    attention: Attention
    queue: FakeQueue = field(default_factory=FakeQueue)
    clock: FakeClock = field(default_factory=FakeClock)
    job_id: str = "01job"

    def work(self) -> State:
        """One task, as a worker would do it."""
        archive(
            self.job_id,
            begin=Begin(self.store, self.aside, self.queue, self.clock),
            store=self.store,
            provider=cast("Provider", self.provider),
            copier=self.copier,
            complaints=Complaints(self.runs, self.attention, self.queue, self.clock),
            queue=self.queue,
            clock=self.clock,
        )
        return self.state

    def until_end(self, times: int = 60) -> State:
        """Work, and let time pass, until the job has ended."""
        for _ in range(times):
            if self.work() is not State.COPYING:
                return self.state
            self.clock.advance(100_000)
        raise AssertionError(f"still {self.state} after {times} tasks")

    def restarted(self, **changes: Any) -> Yard:
        """Another worker's view of the same rows: nothing in memory is shared."""
        return replace(self, copier=replace(self.copier, **changes))

    @property
    def state(self) -> State:
        """Where the job stands."""
        job = self.store.get(self.job_id)
        assert job is not None
        return job.state

    @property
    def attempts(self) -> int:
        """How often it could not be proven so far."""
        job = self.store.get(self.job_id)
        assert job is not None
        return job.archive_attempts

    @property
    def files(self) -> list[ResultFile]:
        """Its proven files."""
        return self.store.files([self.job_id])[self.job_id]

    def left(self) -> tuple[set[str], int, int]:
        """What lies in the bucket under the job's keys, how many uploads are unfinished, how many rows are open."""
        keys = {key.rpartition("/")[2] for key in self.bucket.keys("kling/") if self.job_id in key.split("/")}
        return keys, len(self.bucket.pending()), len(self.store.transfers.of(self.job_id))


def video(url: str, ordinal: int = 0, **changes: Any) -> Output:
    """One video of a task."""
    values = {"kind": "video", "variant": "original", "id": "77", "duration": None}
    return Output(ordinal=ordinal, url=url, **{**values, **changes})


@contextmanager
def yard(
    settings: Settings, engine: Engine, outputs: Sequence[Output], *, job_id: str = "01job", **changes: Any
) -> Iterator[Yard]:
    """A job in an empty database and an emptied bucket, which is emptied again at the end: a test may stop in the
    middle of a copy, and all tests of a process share the bucket. `changes` are to the copier, whose slices are long
    unless said: a machine that is busy ends none of them.
    """
    services = Services(settings, cast("Any", None))
    store = Repository(engine)
    bucket = services.bucket
    empty(bucket)
    copier = replace(services.copier, **{"slice_seconds": 600.0, **changes})
    rows = Aside(engine), Runs(engine), Attention(engine)
    made = Yard(store, bucket, copier, FakeProvider(list(outputs)), *rows, job_id=job_id)
    copying_job(made)
    try:
        yield made
    finally:
        empty(bucket)


def empty(bucket: ObjectStore) -> None:
    """Remove all objects and unfinished uploads."""
    for key in bucket.keys(""):
        bucket.delete(key)
    for pending in bucket.pending():
        bucket.abort(pending.key, pending.upload_id)


def copying_job(made: Yard) -> None:
    """A job with the yard's id, its task done."""
    new = NewJob(
        made.job_id, "default", "default", "videos/omni-video", None, None, b"f", b"{}", model="kling-video-o1"
    )
    job = made.store.accept(new, MORNING).job
    for event in (Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN, Event.TASK_SUCCEEDED):
        moved = made.store.move(job, event, MORNING, changes={"provider_task_id": "t1", "submitted_at": MORNING})
        assert moved is not None
        job = moved.job


#: Of what no test looks at the label of.
LABEL: dict[str, Any] = {"content_type": "a/b", "filename": "x", "metadata": {}}
#: What lies in the bucket of a job of one video.
ALL = {"video-0.mp4", "video-0.poster.jpg", "video-0.sheet.jpg", "manifest.json"}


def sha256_of(file: File) -> str:
    """The hash of what the origin holds."""
    digest = hashlib.sha256()
    for at in range(0, file.size, 2**20):
        digest.update(file.read(at, min(at + 2**20, file.size)))
    return digest.hexdigest()


def proven(made: Yard, file: File) -> None:
    """P2, P7: exactly one right file, its poster and its manifest; nothing else, and nothing open."""
    assert State.ARCHIVED is made.state
    assert (ALL, 0, 0) == made.left()
    (stored,) = made.files
    wanted = sha256_of(file)
    assert (file.size, wanted) == (stored.size, stored.sha256)
    assert wanted == hashlib.sha256(b"".join(made.bucket.chunks(stored.key))).hexdigest()
    said = made.bucket.head(stored.key)
    assert said is not None
    assert wanted == said.metadata["reelhook-sha256"]


@contextmanager
def placed(settings: Settings, engine: Engine, file: File, **changes: Any) -> Iterator[tuple[Yard, Origin]]:
    """A yard with a job of one film, served as the test says."""
    with origin(film=file) as served, yard(settings, engine, [video(served.link("film.mp4"))], **changes) as made:
        yield made, served


def behind(made: Yard, settings: Settings, url: str) -> Yard:
    """The same job, worked on with another way to the bucket; the judge goes to the bucket directly."""
    return made.restarted(bucket=ObjectStore(settings.model_copy(update={"s3_endpoint_url": url})))


def saved(made: Yard, transfer: Transfer) -> None:
    """Write how far a file is, as who holds the lease."""
    if not made.store.transfers.save(made.job_id, "late", transfer, made.clock(), LEASE):
        raise LeaseLost
