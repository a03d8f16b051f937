"""What lies beside a film for people to look at. None of it is proof: a film without it is archived all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from infra.log import logger
from infra.media import MediaFacts
from infra.object_store import StoreError
from infra.pictures import contact_sheet, poster
from worker.source import LeaseLost

log = logger(__name__)

#: What there may be, as keys name it.
NAMES = ("poster", "sheet")


@dataclass(frozen=True)
class Previews:
    """Which of them are wanted."""

    posters: bool = True
    sheets: bool = True

    def of(self, file: Any, facts: MediaFacts, first: Any, alive: Callable[[], object]) -> Iterator[tuple[str, bytes]]:
        """Name and JPEG of each picture of a proven film. `first` is its first frame. Raises what `alive` raises."""
        if self.posters and (picture := self._made("poster", lambda: poster(first))):
            yield "poster", picture
        if self.sheets:
            file.seek(0)
            if picture := self._made("sheet", lambda: contact_sheet(file, facts, alive)):
                yield "sheet", picture

    def _made(self, name: str, make: Callable[[], bytes]) -> bytes | None:
        try:
            return make()
        except (StoreError, LeaseLost):
            raise  # the film could not be read just now: that is no fault of the picture
        except Exception as fault:  # noqa: BLE001 - decoder and painter raise at will, and the film is proven already
            log.warning("preview.left_out", preview=name, reason=f"{type(fault).__name__}: {fault}")
            return None
