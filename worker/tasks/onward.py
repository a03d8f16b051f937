"""Does the next step of a job in the process that has just done the one before, instead of sending a message for it.

A message to ourselves costs two processes and the broker more than most steps do. The row is due all the same: should
this process die before it has done the step, the next sweep sends the message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra import log
from worker.ports import Queue


class Onward:
    """A queue that keeps messages for tasks that this process can do itself. `here`: what does them, by task."""

    def __init__(self, queue: Queue, here: Mapping[str, Callable[[str], None]]) -> None:
        self._queue = queue
        self._here = here
        self._kept: list[tuple[str, str]] = []

    def send(self, task: str, queue_name: str, args: Sequence[Any], task_id: str | None = None) -> bool:
        """Keep the message if this process can do the task, else send it. Whether it was kept or the broker took it."""
        if task not in self._here:
            return self._queue.send(task, queue_name, args, task_id)
        (subject,) = args
        self._kept.append((task, subject))
        return True

    def go(self) -> None:
        """Do the tasks that were kept."""
        for task, subject in self._kept:
            with log.bound(task_name=task, subject=subject):
                self._here[task](subject)
