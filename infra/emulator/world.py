"""What is true: tasks, their ids, slots and balance, result files, and what was seen. All behind one lock."""

import secrets
import threading
from collections import Counter, deque
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from infra.emulator.ask import Ask
from infra.emulator.config import Config
from infra.emulator.families import Family
from infra.emulator.fates import Fates
from infra.emulator.ids import Ids
from infra.emulator.library import Library
from infra.emulator.prices import units
from infra.emulator.tasks import FAILED, SUCCEED, Failed, Made, Task, life_of
from infra.emulator.wire import Refusal

_CALLBACKS_KEPT = 10_000


@dataclass(frozen=True)
class Clip:
    """A video that a finished task made, which others may name by `video_id`."""

    path: Path
    url: str
    duration: str


class World:
    """The account of one emulator."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._ids = Ids()
        self._tasks: dict[str, Task] = {}
        self._by_external: dict[str, str] = {}
        #: Ids in order, as far as it is known that they hold a slot.
        self._unended: dict[str, None] = {}
        #: Ids of the elements that are video characters.
        self.characters: frozenset[str] = frozenset()
        self._files: dict[str, Path] = {}
        self._clips: dict[str, Clip] = {}
        self._creates: Counter[str] = Counter()
        self._sent: dict[str, list[tuple[float, bool]]] = {}
        self._callbacks: deque[dict[str, Any]] = deque(maxlen=_CALLBACKS_KEPT)
        self._queries = 0
        self._spent = Decimal(0)
        self.library = Library()

    def create(self, ask: Ask, fates: Fates, now: float) -> Task:
        """A new task, or Refusal: external id taken 1201, balance 1102 or 1101, slots 1303."""
        with self._lock:
            task = Task(
                self._ids.mint(now), ask, fates, now, life_of(ask, fates, self._config.speed), parent=self._parent(ask)
            )
            if ask.external_task_id in self._by_external:
                raise Refusal(1201, f"external_task_id '{ask.external_task_id}' already exists")
            self._check_balance(Decimal(units(ask, ask.duration)), now)
            self._check_slots(ask, now)
            self._tasks[task.task_id] = task
            self._unended[task.task_id] = None
            if ask.external_task_id:
                self._by_external[ask.external_task_id] = task.task_id
        return task

    def charge(self, cost: str, now: float) -> None:
        """Pay for what is answered at once; Refusal 1102 or 1101 if that cannot be afforded."""
        with self._lock:
            self._check_balance(Decimal(cost), now)
            self._spent += Decimal(cost)

    def spent(self) -> float:
        """Units used up so far."""
        with self._lock:
            return float(self._spent)

    def _check_balance(self, cost: Decimal, now: float) -> None:
        if self._config.balance is None:
            return
        held = sum(Decimal(units(task.ask, task.ask.duration)) for task in self._running(now))
        if self._spent + held + cost > Decimal(str(self._config.balance)):
            if self._config.postpaid:
                raise Refusal(1101, "Account is in arrears")
            raise Refusal(1102, "Account balance not enough")

    def _check_slots(self, ask: Ask, now: float) -> None:
        taken = sum(task.ask.count for task in self._running(now) if task.ask.family.pack == ask.family.pack)
        if taken + ask.count > self._config.concurrency:
            raise Refusal(1303, "parallel task over resource pack limit")

    def _running(self, now: float) -> list[Task]:
        for task_id in [key for key in self._unended if self._tasks[key].status(now) in {SUCCEED, FAILED}]:
            del self._unended[task_id]
        return [self._tasks[key] for key in self._unended]

    def _parent(self, ask: Ask) -> dict[str, str] | None:
        """The video that a task works on, if it was made here; no message is recorded for an unknown id."""
        for video_id in ask.media("clips"):
            clip = self._clips.get(str(video_id))
            if clip is None:
                raise Refusal(1201, f"video_id '{video_id}' is invalid")
            return {"id": video_id, "url": clip.url, "duration": clip.duration}
        return None

    def end(self, task_id: str, outcome: Made | Failed, now: float) -> Task:
        """The task with its outcome, which shows when it is due, or now if that has passed."""
        with self._lock:
            task = self._tasks[task_id]
            task = replace(task, outcome=outcome, ended=max(task.due, now))
            self._tasks[task_id] = task
            if isinstance(outcome, Made):
                self._spent += Decimal(outcome.units)
        return task

    def find(self, family: Family, either_id: str) -> Task:
        """The task of a family by its own or the caller's id; Refusal 1203 if there is none."""
        with self._lock:
            task = self._tasks.get(either_id) or self._tasks.get(self._by_external.get(either_id, ""))
        if task is None or task.ask.family != family:
            raise Refusal(1203, f"task '{either_id}' is not found")
        return task

    def list(self, family: Family, number: int, size: int) -> list[Task]:
        """Page `number` (from 1) of a family's tasks, newest first."""
        with self._lock:
            tasks = [task for task in self._tasks.values() if task.ask.family == family]
        tasks.reverse()
        return tasks[(number - 1) * size : number * size]

    def publish(self, path: Path, name: str) -> str:
        """The URL under which a result file is served from now on."""
        key = f"{secrets.token_hex(16)}/{name}"
        with self._lock:
            self._files[key] = path
        return f"{self._config.public_url}/cdn/{key}?x-kcdn-pid=112452"

    def file(self, key: str) -> Path | None:
        """The published file of a CDN path."""
        with self._lock:
            return self._files.get(key)

    def keep_clip(self, clip: Clip, now: float) -> str:
        """A video id for `clip`."""
        video_id = self._ids.mint(now)
        with self._lock:
            self._clips[video_id] = clip
        return video_id

    def clip(self, video_id: str) -> Clip | None:
        """The clip of a video id."""
        with self._lock:
            return self._clips.get(video_id)

    def mint(self, now: float) -> str:
        """An id for an element or a voice."""
        return self._ids.mint(now)

    def declare(self, ids: Any) -> int:
        """Take `ids` for those of video characters that were made before; how many are known now."""
        if not isinstance(ids, list):
            raise Refusal(1200, "expected a JSON list of element ids")
        with self._lock:
            self.characters |= {str(one) for one in ids}
            return len(self.characters)

    def saw_create(self, external_task_id: str) -> None:
        """Count a create request, whatever becomes of it."""
        with self._lock:
            self._creates[external_task_id] += 1

    def saw_sent(self, external_task_id: str, at: float, *, settled: bool) -> None:
        """Remember when a create came, and whether its asker was told for sure that nothing was made."""
        with self._lock:
            self._sent.setdefault(external_task_id, []).append((at, settled))

    def saw_query(self) -> None:
        """Count a query or a list request."""
        with self._lock:
            self._queries += 1

    def saw_callback(self, entry: dict[str, Any]) -> None:
        """Remember one attempt to call back."""
        with self._lock:
            self._callbacks.append(entry)

    def report(self, now: float) -> dict[str, Any]:
        """What `GET /_emulator/state` shows."""
        with self._lock:
            tasks = [
                {
                    "task_id": task.task_id, "external_task_id": task.ask.external_task_id,
                    "status": task.status(now), "family": task.ask.family.path,
                }
                for task in self._tasks.values()
            ]  # fmt: skip
            return {
                "creates": dict(self._creates), "sent": dict(self._sent),
                "tasks": tasks, "callbacks": list(self._callbacks),
                "queries": self._queries, "units_spent": str(self._spent),
            }  # fmt: skip
