"""What a job wants told is told by the process that has it at hand, where that may be, and not sent to ourselves.

A message costs two processes and the broker more than the claim that it is about. The row is written and due before:
should this process die now, a sweep sends what it did not do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra import log
from worker.ports import Queue


class Onward:
    """A queue that keeps what its own process does next. `here`: by task, how."""

    def __init__(self, queue: Queue, here: Mapping[str, Callable[[str], None]]) -> None:
        self._queue = queue
        self._here = here
        self._kept: list[tuple[str, str]] = []

    def send(self, task: str, queue_name: str, args: Sequence[Any], task_id: str | None = None) -> bool:
        """Keep it, or send it on; whether that was possible."""
        if task not in self._here:
            return self._queue.send(task, queue_name, args, task_id)
        (subject,) = args
        self._kept.append((task, subject))
        return True

    def go(self) -> None:
        """Do what was kept."""
        for task, subject in self._kept:
            with log.bound(task_name=task, subject=subject):
                self._here[task](subject)
