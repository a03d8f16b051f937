"""What the synchronous routes stand on: media looked at while the client waits, and files published at once."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from infra.emulator.config import Config
from infra.emulator.ids import sequence
from infra.emulator.inputs import Fetcher, Footage, Picture, Unusable, watch
from infra.emulator.rule import one_present
from infra.emulator.sessions import Sessions
from infra.emulator.studio import Studio
from infra.emulator.wire import Refusal
from infra.emulator.world import World

Found = TypeVar("Found")


@dataclass(frozen=True)
class Desk:
    """The synchronous side of one emulator."""

    config: Config
    world: World
    studio: Studio
    folder: Path
    stopped: Callable[[], bool]
    sessions: Sessions = field(default_factory=Sessions)

    def film(self, body: Mapping[str, Any]) -> tuple[Footage, str]:
        """The video of a body, by exactly one of `video_id` and `video_url`, and its URL; Refusal 1201 otherwise."""
        complaint = one_present(body, "video_id", "video_url")
        if complaint:
            raise Refusal(1201, complaint)
        clip = self.world.clip(str(body.get("video_id")))
        if not clip and body.get("video_id"):
            raise Refusal(1201, f"video_id '{body['video_id']}' is invalid")
        if clip:
            return watch(clip.path, self._room()), clip.url
        footage = _usable(lambda: self._fetcher().film(text(body, "video_url")))
        path = footage.path.rename(footage.path.with_suffix(".mp4"))
        return footage, self.world.publish(path, f"{next(sequence):08x}-normalized.mp4")

    def picture(self, source: str) -> Picture:
        """An image by its URL or in base64; Refusal 1201 for what Kling does not take."""
        return _usable(lambda: self._fetcher().picture(source))

    def mint(self) -> str:
        """An id for what is made now."""
        return self.world.mint(time.time())

    def done(self, **more: Any) -> dict[str, Any]:
        """`data` of an answer that has the shape of a task, and is final at once."""
        now = int(time.time() * 1000)
        return {
            "task_id": self.mint(), "task_status": "succeed", "task_status_msg": "", "task_info": {}, **more,
            "created_at": now, "updated_at": now,
        }  # fmt: skip

    def _fetcher(self) -> Fetcher:
        return Fetcher(self.world, self._room(), self.config.edition, self.stopped)

    def _room(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder


def _usable(look: Callable[[], Found]) -> Found:
    try:
        return look()
    except Unusable as reason:
        raise Refusal(1201, str(reason)) from None


def text(body: Mapping[str, Any], key: str, most: int = 4096) -> str:
    """The string `key` of a body, which must be there; Refusal 1201 otherwise."""
    value = body.get(key)
    if value in (None, ""):
        raise Refusal(1201, f"{key} can not be null")
    if not isinstance(value, str):
        raise Refusal(1201, f"{key} is invalid")
    if len(value) > most:
        raise Refusal(1201, f"{key} must not exceed {most} characters")
    return value


def number(body: Mapping[str, Any], key: str, low: float, high: float) -> float:
    """The number `key` of a body, which must be there; Refusal 1201 otherwise."""
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refusal(1201, f"{key} must be between {low:g} and {high:g}")
    return value


def id_of(body: Mapping[str, Any], key: str) -> str:
    """The id `key` of a body, a number or a string; Refusal 1201 otherwise."""
    value = body.get(key)
    if value in (None, ""):
        raise Refusal(1201, f"{key} can not be null")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Refusal(1201, f"{key} is invalid")
    return str(value)
