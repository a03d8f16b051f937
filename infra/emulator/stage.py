"""Carries a task from its creation to its end: fetch, render, tell."""

import shutil
import time
import traceback
from functools import partial
from pathlib import Path

from infra.emulator.callbacks import Callbacks
from infra.emulator.config import Config
from infra.emulator.inputs import Fetcher, Inputs, Unusable
from infra.emulator.studio import Studio, warm_up
from infra.emulator.tasks import Failed, Made, Task
from infra.emulator.workers import Pool, Timeline
from infra.emulator.world import World

_FETCHERS = 8
_RENDERERS = 2
#: What may wait longer (a socket) is left to die with the process: its threads are daemons.
_END_SECONDS = 1.0
#: A frame of a film is certain to end, and a process that ends before it crashes in FFmpeg.
_FRAME_SECONDS = 60.0
RISK = "Failure to pass the risk control system"


class Stage:
    """The life of all tasks of one emulator."""

    def __init__(self, config: Config, world: World, folder: Path) -> None:
        self._stopping = False
        self._world = world
        self._timeline = Timeline()
        self._fetching = Pool("fetch", _FETCHERS)
        self._rendering = Pool("render", _RENDERERS)
        self._folder = folder
        self._edition = config.edition
        self.studio = Studio(world, folder, self._is_stopping)
        self.callbacks = Callbacks(world, self._timeline, config.speed)

    def _is_stopping(self) -> bool:
        return self._stopping

    def start(self) -> None:
        """Begin."""
        self._timeline.start()
        self._rendering.submit(warm_up)

    def begin(self, task: Task) -> None:
        """Set off a task that was just created."""
        self.callbacks.plan_start(task)
        if task.fates.fail:
            self._end(task, Failed(RISK))
        elif any(task.ask.media(kind) for kind in ("images", "videos", "sounds", "clips")):
            self._fetching.submit(partial(self._fetch, task))
        else:
            self._rendering.submit(partial(self._render, task, Inputs()))

    def _fetch(self, task: Task) -> None:
        folder = self._inputs_of(task)
        folder.mkdir()
        try:
            inputs = Fetcher(self._world, folder, self._edition, self._is_stopping).gather(task.ask)
        except Unusable as reason:
            self._end(task, Failed(str(reason)))
        else:
            self._rendering.submit(partial(self._render, task, inputs))

    def _render(self, task: Task, inputs: Inputs) -> None:
        try:
            outcome: Made | Failed = self.studio.make(task.ask, inputs)
        except Exception:  # noqa: BLE001 - whatever a codec dislikes, the task must end, and say so
            if self._stopping:
                return
            traceback.print_exc()
            outcome = Failed("Server internal error")
        self._end(task, outcome)

    def _inputs_of(self, task: Task) -> Path:
        return self._folder / f"inputs-{task.task_id}"

    def _end(self, task: Task, outcome: Made | Failed) -> None:
        shutil.rmtree(self._inputs_of(task), ignore_errors=True)
        self.callbacks.plan_end(self._world.end(task.task_id, outcome, time.time()))

    def stop(self) -> None:
        """End all threads; unfinished tasks stay unfinished."""
        self._stopping = True
        ends = (self._timeline, self.callbacks, self._fetching, self._rendering)
        for end in ends:
            end.stop()
        deadline = time.monotonic() + _END_SECONDS
        for end in ends[:-1]:
            end.join(deadline)
        self._rendering.join(time.monotonic() + _FRAME_SECONDS)
