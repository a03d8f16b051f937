"""The boxes that an MP4 or MOV file is made of, followed while its bytes pass by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class NotMedia(Exception):
    """The bytes are not what they claim to be; the text says in which way."""


class BoxWalk:
    """Follows the top-level boxes of an ISO media file (MP4, MOV) while its bytes pass by, keeping none of them.

    Source: ISO/IEC 14496-12, 4.2. A file that was cut anywhere ends inside a box.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Begin, or go on from what `state()` said."""
        self.boxes: list[str] = list(state["boxes"]) if state else []
        self._header = bytearray.fromhex(state["header"]) if state else bytearray()
        self._skip: int = state["skip"] if state else 0
        self._open_ended: bool = state["open_ended"] if state else False

    def state(self) -> dict[str, Any]:
        """Where the walk stands, as JSON can hold it: another process may go on from here."""
        return {
            "boxes": self.boxes,
            "header": self._header.hex(),
            "skip": self._skip,
            "open_ended": self._open_ended,
        }

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `NotMedia` as soon as they can't be such a file."""
        view = memoryview(chunk)
        while view and not self._open_ended:
            if self._skip:
                step = min(self._skip, len(view))
                self._skip -= step
                view = view[step:]
                continue
            need = 16 if self._header[:4] == b"\0\0\0\1" else 8
            take = min(need - len(self._header), len(view))
            self._header += view[:take]
            view = view[take:]
            if len(self._header) >= 8 and (len(self._header) == 16 or self._header[:4] != b"\0\0\0\1"):
                self._enter()

    def finish(self) -> None:
        """Say that no bytes follow. Raises `NotMedia` when a box is cut, or moov or mdat is not there."""
        if self._header or self._skip:
            raise NotMedia("ends inside a box: it was cut")
        if missing := {"moov", "mdat"} - set(self.boxes):
            raise NotMedia(f"has no {' and no '.join(sorted(missing))} box")

    def _enter(self) -> None:
        length = int.from_bytes(self._header[:4], "big")
        kind = self._header[4:8].decode("latin-1")
        if not self.boxes and kind != "ftyp":
            raise NotMedia("does not begin as an MP4 or MOV file")
        if length == 1:
            length = int.from_bytes(self._header[8:16], "big")
        if not kind.isascii() or not kind.isprintable() or (length == 0 and kind != "mdat"):
            raise NotMedia("goes on with what is no box")  # only frames may go on to the end, whatever that is
        self._open_ended = length == 0
        if length and length < len(self._header):
            raise NotMedia("has a box of impossible length")
        self._skip = max(length - len(self._header), 0)
        self._header.clear()
        if kind not in self.boxes:  # a fragmented film repeats two of them thousands of times
            self.boxes.append(kind)
