"""Hand-written stand-ins for ports, and makers of values. For unit tests only: servers are never faked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from worker.jobs.model import Job, ResultFile, State
from worker.messages import QUEUES

T = TypeVar("T")

MORNING = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@dataclass
class FakeClock:
    """A clock that goes when it is told to."""

    at: datetime = MORNING

    def __call__(self) -> datetime:
        """The time."""
        return self.at

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.at += timedelta(seconds=seconds)


@dataclass
class FakeQueue:
    """A broker that keeps what it was sent; `down` makes it refuse."""

    sent: list[tuple[str, str, tuple[Any, ...]]] = field(default_factory=list)
    down: bool = False
    #: Takes what is sent to queues that are not ours.
    elsewhere: Callable[[tuple[str, str, tuple[Any, ...]]], object] | None = None

    def send(self, task: str, queue_name: str, args: Sequence[Any], task_id: str | None = None) -> bool:  # noqa: ARG002 - as the port says
        """Whether it was taken."""
        message = (task, queue_name, tuple(args))
        if not self.down and self.elsewhere and queue_name not in QUEUES:
            self.elsewhere(message)
        elif not self.down:
            self.sent.append(message)
        return not self.down

    def waiting(self, queue_name: str) -> int | None:
        """How many messages were not taken out."""
        return None if self.down else sum(name == queue_name for _, name, _ in self.sent)


class OwnHands:
    """Does the work itself, at once."""

    count = free = 99

    def give(self, work: Callable[[], None]) -> None:
        """Do it."""
        work()


def a_job(**changes: object) -> Job:
    """A job that was just accepted, but for `changes`."""
    values: dict[str, object] = {
        "id": "01hzzzzzzzzzzzzzzzzzzzzzzz",
        "caller": "default",
        "account": "default",
        "family": "videos/omni-video",
        "model": "kling-video-o1",
        "state": State.ACCEPTED,
        "external_task_id": None,
        "depth": 0,
        "begun": 0,
        "awaited": False,
        "callback_url": None,
        "on_done": None,
        "bucket": "",
        "prefix": "",
        "fallbacks": "",
        "slots": 1,
        "provider_task_id": None,
        "adopted_from": None,
        "submissions": 0,
        "deferrals": 0,
        "lookups": 0,
        "archive_attempts": 0,
        "error_code": None,
        "error_message": None,
        "expected_units": None,
        "list_price": None,
        "units": None,
        "created_at": MORNING,
        "updated_at": MORNING,
        "submitted_at": None,
        "expected_at": None,
        "bytes_copied": 0,
        "bytes_total": None,
        "manifest_key": None,
        "manifest_sha256": None,
        "due_at": MORNING,
        "version": 0,
    }
    return Job(**{**values, **changes})  # type: ignore[arg-type]  # a maker of test values takes what it is given


def a_file(**changes: object) -> ResultFile:
    """A proven video, but for `changes`."""
    values: dict[str, object] = {
        "kind": "video",
        "variant": "original",
        "ordinal": 0,
        "provider_id": "797191640795996237",
        "key": "kling/2026/11/21/01hz/video-0.mp4",
        "bucket": "reelhook",
        "size": 1000,
        "sha256": "0" * 64,
        "content_type": "video/mp4",
        "container": "mov,mp4",
        "duration": 5.041,
        "width": 1280,
        "height": 720,
        "fps": 24.0,
        "video_codec": "h264",
        "audio_codec": None,
        "poster_key": "kling/2026/11/21/01hz/video-0.poster.jpg",
        "sheet_key": "kling/2026/11/21/01hz/video-0.sheet.jpg",
        "listed": None,
        "damaged_frames": 0,
    }
    return ResultFile(**{**values, **changes})  # type: ignore[arg-type]  # as above


def race(*actions: Callable[[], T]) -> list[T]:
    """Run `actions` at the same moment, each in a thread, and return what they returned. Raises what one raised."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only racing tests need it
    from threading import Barrier  # noqa: PLC0415 - as above

    start = Barrier(len(actions))

    def run(action: Callable[[], T]) -> T:
        start.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result() for future in [pool.submit(run, action) for action in actions]]
