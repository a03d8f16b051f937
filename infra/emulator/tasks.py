"""A task, whose status is a function of the clock, and how the API and a callback show it."""

from dataclasses import dataclass
from typing import Any

from infra.emulator.ask import Ask
from infra.emulator.fates import Fates

#: Part of its life that a task waits before it is processed.
_WAITING = 0.05
_FAST_SECONDS = 0.2
SUBMITTED, PROCESSING, SUCCEED, FAILED = "submitted", "processing", "succeed", "failed"


@dataclass(frozen=True)
class Failed:
    """Why a task failed; Kling gives a text and no code."""

    reason: str


@dataclass(frozen=True)
class Made:
    """What a task made, as `task_result` of a query, and what that cost."""

    result: dict[str, Any]
    units: str


@dataclass(frozen=True)
class Task:
    """One task. Times are seconds since 1970."""

    task_id: str
    ask: Ask
    fates: Fates
    created: float
    #: Kling's typical duration, divided by the speed.
    life: float
    outcome: Made | Failed | None = None
    #: When it really ended; with an outcome only.
    ended: float = 0.0
    #: The video it works on, as `task_info.parent_video`.
    parent: dict[str, str] | None = None

    @property
    def starts(self) -> float:
        """When it leaves `submitted`."""
        return self.created + self.life * _WAITING

    @property
    def due(self) -> float:
        """The earliest end."""
        return self.created + self.life

    def status(self, now: float) -> str:
        """What a query shows at `now`; it lags behind where the fates say that the callback is early."""
        if self.outcome and now >= self.ended + self.fates.early:
            return self.final
        return SUBMITTED if now < self.starts else PROCESSING

    @property
    def final(self) -> str:
        """The status that the outcome means."""
        return FAILED if isinstance(self.outcome, Failed) else SUCCEED

    def shown(self, now: float) -> dict[str, Any]:
        """`data` of a query."""
        status = self.status(now)
        data = self._as(status)
        if self.ask.get("watermark_info") is not None:
            data["watermark_info"] = {"enabled": self.ask.watermark}
        if status == SUCCEED and isinstance(self.outcome, Made):
            data["task_result"] = self.outcome.result
        return data

    def called_back(self, status: str) -> dict[str, Any]:
        """The flat payload of a callback: no envelope, no watermark."""
        data = self._as(status)
        if status == SUCCEED and isinstance(self.outcome, Made):
            data["task_result"] = {kind: _unmarked(value) for kind, value in self.outcome.result.items()}
        return data

    def created_data(self) -> dict[str, Any]:
        """`data` of the create reply."""
        created = int(self.created * 1000)
        return {
            "task_id": self.task_id, "task_info": self._info, "task_status": SUBMITTED,
            "created_at": created, "updated_at": created,
        }  # fmt: skip

    def _as(self, status: str) -> dict[str, Any]:
        changed = {SUBMITTED: self.created, PROCESSING: self.starts}.get(status, self.ended)
        reason = self.outcome.reason if status == FAILED and isinstance(self.outcome, Failed) else ""
        units = self.outcome.units if status == SUCCEED and isinstance(self.outcome, Made) else "0"
        return {
            "task_id": self.task_id, "task_status": status, "task_status_msg": reason, "task_info": self._info,
            "task_result": {}, "final_unit_deduction": units,
            "created_at": int(self.created * 1000), "updated_at": int(changed * 1000),
        }  # fmt: skip

    @property
    def _info(self) -> dict[str, Any]:
        external = self.ask.external_task_id
        info: dict[str, Any] = {"external_task_id": external} if external else {}
        return {**info, "parent_video": self.parent} if self.parent else info


def _unmarked(value: Any) -> Any:
    """A result's list without its watermarked versions; what stands beside the lists as it is."""
    if not isinstance(value, list):
        return value
    return [{key: row[key] for key in row if key != "watermark_url"} for row in value]


def life_of(ask: Ask, fates: Fates, speed: float) -> float:
    """Seconds from a task's creation to its earliest end."""
    return _FAST_SECONDS if fates.fast else ask.family.seconds * fates.slowness / speed
