"""The elements and voices of one account: what was made stays known until it is deleted."""

import threading
from typing import Any

from infra.emulator.wire import Refusal

#: What Kling itself offers to everybody. The ids are the emulator's own.
PRESET_VOICES = {"829824295735410756": "Gentle Narrator", "829826751244537879": "Bright Presenter"}
PRESET_ELEMENTS = {829836802793406551: "Grey Cat", 829836802793406552: "Red Lantern"}


class Library:
    """Rows as queries show them, by kind (`element`, `voice`) and id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}

    def keep(self, kind: str, id_: str, row: dict[str, Any]) -> None:
        """Know a row from now on."""
        with self._lock:
            self._rows[kind, id_] = row

    def drop(self, kind: str, id_: str) -> None:
        """Delete a row, which shows in the task that made it; Refusal 1203 if there is none, 1201 for Kling's own."""
        if id_ in PRESET_VOICES or id_ in map(str, PRESET_ELEMENTS):
            raise Refusal(1201, f"{kind} '{id_}' is a preset and can not be deleted")
        with self._lock:
            row = self._rows.pop((kind, id_), None)
        if row is None:
            raise Refusal(1203, f"{kind} '{id_}' is not found")
        row["status"] = "deleted"
