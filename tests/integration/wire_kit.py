"""Bodies and a label for calls to a store."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from worker.tape import Held

LABEL: dict[str, Any] = {"content_type": "video/mp4", "filename": "a b.mp4", "metadata": {"reelhook-job": "01J"}}


class Passing:
    """A body that passes by once."""

    def __init__(self, content: bytes) -> None:
        self._file = BytesIO(content)

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        return self._file.read(size)


def held() -> Any:
    """A body that can be sent again; the library's stubs ask for more of it than the library."""
    return Held([b"hel", b"lo"])


def passing() -> Any:
    """One that can't."""
    return Passing(b"hello")
