"""A create request as its family reads it: defaults filled in, empty values absent (R007)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.emulator.families import Family, values_at


@dataclass(frozen=True)
class Ask:
    """The body of one create request, and the family it went to."""

    family: Family
    body: Mapping[str, Any]
    #: Ids of the elements that are video characters; all others are made of images.
    characters: frozenset[str] = frozenset()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`; `default` if it is absent, null or empty."""
        value = self.body.get(key)
        return default if value is None or value in ("", []) else value

    def text(self, key: str, default: str = "") -> str:
        """The value of `key` if it is a string."""
        value = self.get(key, default)
        return value if isinstance(value, str) else default

    def rows(self, key: str) -> tuple[Any, ...]:
        """The entries of the list `key`."""
        value = self.get(key)
        return tuple(value) if isinstance(value, list) else ()

    def media(self, kind: str) -> tuple[Any, ...]:
        """All media of a kind (`images`, `videos`, `sounds`) that the body names, in the order of the table."""
        paths: tuple[str, ...] = getattr(self.family, kind)
        return tuple(value for path in paths for value in values_at(self.body, path))

    @property
    def model(self) -> str:
        """`model_name`; the deprecated `model` has no effect."""
        return self.text("model_name", self.family.model)

    @property
    def mode(self) -> str:
        """std, pro or 4k."""
        return self.text("mode", self.family.mode)

    @property
    def duration(self) -> float:
        """Seconds asked for."""
        value = self.get("duration", 5)
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            return 5.0
        return seconds if 0 < seconds <= 60 else 5.0

    @property
    def sound(self) -> bool:
        """Whether the model makes sound of its own."""
        return self.text("sound", "off") == "on"

    @property
    def multi_shot(self) -> bool:
        """`multi_shot`; an official sample sends it as the string "true"."""
        return self.body.get("multi_shot") in (True, "true")

    @property
    def customized(self) -> bool:
        """Whether the shots stand in `multi_prompt`."""
        return self.multi_shot and self.text("shot_type") == "customize"

    @property
    def video_type(self) -> str:
        """`base` (the default) or `feature` if the body has a reference video, else empty."""
        for row in self.rows("video_list"):
            if isinstance(row, Mapping):
                return str(row.get("refer_type") or "base")
        return ""

    @property
    def frames(self) -> tuple[str, ...]:
        """The `type` of each image that is a frame: first_frame, end_frame."""
        return tuple(
            str(row["type"]) for row in self.rows("image_list") if isinstance(row, Mapping) and row.get("type")
        )

    @property
    def count(self) -> int:
        """How many images a task makes; 1 for other kinds."""
        if self.family.kind != "image":
            return 1
        series = self.text("result_type") == "series"
        value = self.get("series_amount", 4) if series else self.get("n", 1)
        return int(value) if str(value).isdecimal() and str(value).isascii() else 4

    @property
    def prompts(self) -> tuple[str, ...]:
        """Every prompt of the body."""
        texts = [self.body.get("prompt"), *values_at(self.body, "multi_prompt[].prompt")]
        return tuple(text for text in texts if isinstance(text, str) and text)

    @property
    def character_count(self) -> int:
        """How many of its elements are video characters."""
        return sum(str(value) in self.characters for value in values_at(self.body, "element_list[].element_id"))

    @property
    def watermark(self) -> bool:
        """Whether a second, marked file is wanted."""
        info = self.get("watermark_info")
        return isinstance(info, Mapping) and info.get("enabled") is True

    @property
    def external_task_id(self) -> str:
        """The caller's own id, or empty."""
        return self.text("external_task_id")

    @property
    def callback_url(self) -> str:
        """Where callbacks go, or empty."""
        return self.text("callback_url")
