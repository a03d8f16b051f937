"""What lies beside a film for people to look at. None of it is proof: a film without it is archived all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from infra.log import logger
from infra.media import Film
from infra.pictures import TILES, contact_sheet, poster, tile

T = TypeVar("T")

log = logger(__name__)

#: What there may be, as keys name it.
NAMES = ("poster", "sheet")


@dataclass(frozen=True)
class Previews:
    """Which of them are wanted."""

    posters: bool = True
    sheets: bool = True

    @property
    def moments(self) -> int:
        """How many moments of a film have to be shown for them."""
        return TILES**2 if self.sheets else 0

    def shown(self, frame: Any) -> Any:
        """What is kept of one moment; None where nothing can be made of it."""
        return _made("sheet", lambda: tile(frame))

    def of(self, film: Film) -> Iterator[tuple[str, bytes]]:
        """Name and JPEG of each picture of a proven film."""
        if self.posters and (picture := _made("poster", lambda: poster(film.first))):
            yield "poster", picture
        if self.sheets and (picture := _made("sheet", lambda: contact_sheet(film.moments))):
            yield "sheet", picture


def _made(name: str, make: Callable[[], T]) -> T | None:
    try:
        return make()
    except Exception as fault:  # noqa: BLE001 - painters raise at will, and the film is proven without
        log.warning("preview.left_out", preview=name, reason=f"{type(fault).__name__}: {fault}")
        return None
