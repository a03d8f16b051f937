"""Tells the workers that callbacks came: one message each while they are few, one for all when they are many.

Sending a message costs more than all the rest of a callback. A job that gets none is found by the next sweep.
"""

from __future__ import annotations

import asyncio
import time

from worker import messages
from worker.jobs.machine import Step
from worker.ports import Queue

#: In each window of so many seconds the first `_NAMED` jobs get a message each; the others share one sweep at its end.
_WINDOW_SECONDS = 0.25
_NAMED = 5


class Nudges:
    """Call it with the id of a job, on one event loop."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._window_ends = 0.0
        self._left = 0
        self._sweep: asyncio.TimerHandle | None = None

    def __call__(self, job_id: str) -> None:
        """A callback for this job was stored."""
        now = time.monotonic()
        if now >= self._window_ends:
            self._window_ends, self._left = now + _WINDOW_SECONDS, _NAMED
        if self._left:
            self._left -= 1
            messages.send(self._queue, [messages.for_step(Step.FOLLOW_UP, job_id)])
        elif self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_WINDOW_SECONDS, self._look_around)

    def _look_around(self) -> None:
        self._sweep = None
        messages.send(self._queue, [messages.Message(messages.SWEEP, "sweep")])
