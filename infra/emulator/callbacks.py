"""Sends callbacks: the flat legacy payload, up to three tries each."""

import json
import time
from functools import partial

import requests

from infra.emulator.tasks import PROCESSING, SUBMITTED, Task
from infra.emulator.workers import Pool, Timeline
from infra.emulator.world import World

_TIMEOUT_SECONDS = 5.0
#: Waits between tries, divided by the speed. Kling documents none; these are the emulator's.
_WAITS_SECONDS = (1.0, 5.0)
_SHORTEST_WAIT = 0.2
_THREADS = 16


class Callbacks:
    """The sender of one emulator."""

    def __init__(self, world: World, timeline: Timeline, speed: float) -> None:
        self._world = world
        self._timeline = timeline
        self._speed = speed
        self._pool = Pool("callbacks", _THREADS)

    def before_reply(self, task: Task) -> None:
        """Send the first callback now, if the fates want it before the create reply."""
        if task.ask.callback_url and task.fates.before_reply and task.fates.callbacks:
            self._send(task, SUBMITTED, tries=1)

    def plan_start(self, task: Task) -> None:
        """Plan the callback of the change to processing."""
        self._plan(task, PROCESSING, task.starts)

    def plan_end(self, task: Task) -> None:
        """Plan the callback of the final state."""
        self._plan(task, task.final, task.ended + task.fates.late)

    def _plan(self, task: Task, status: str, when: float, tries: int = 1 + len(_WAITS_SECONDS)) -> None:
        if task.ask.callback_url and task.fates.callbacks:
            for _ in range(task.fates.copies):
                self._timeline.at(when, partial(self._pool.submit, partial(self._send, task, status, tries)))

    def _send(self, task: Task, status: str, tries: int) -> None:
        answer = _post(task.ask.callback_url, json.dumps(task.called_back(status), ensure_ascii=False).encode())
        self._world.saw_callback(
            {"task_id": task.task_id, "status": status, "http_status": answer, "at": int(time.time() * 1000)}
        )
        if tries > 1 and not (answer and 200 <= answer < 300):
            self._again(task, status, tries - 1)

    def _again(self, task: Task, status: str, tries: int) -> None:
        wait = max(_SHORTEST_WAIT, _WAITS_SECONDS[-tries] / self._speed)
        self._timeline.at(time.time() + wait, partial(self._pool.submit, partial(self._send, task, status, tries)))

    def stop(self) -> None:
        """Send nothing more."""
        self._pool.stop()

    def join(self, deadline: float) -> None:
        """Wait for what is being sent, until `deadline` (monotonic) at most."""
        self._pool.join(deadline)


def _post(url: str, body: bytes) -> int | None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    try:
        # A fresh connection each: a receiver that dies and comes back must not meet a stale one.
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(url, body, headers=headers, timeout=_TIMEOUT_SECONDS, allow_redirects=False)
            return answer.status_code
    except requests.RequestException:
        return None
