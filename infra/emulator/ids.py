"""Ids in Kling's manner: snowflakes of 18 or 19 decimal digits that sort by time."""

import itertools
import secrets
import threading

# All recorded ids of tasks, videos and elements fit this epoch (milliseconds) and shift.
_EPOCH_MS = 1568028518780
_SHIFT = 22


class Ids:
    """Mints ids that never repeat and never go backwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def mint(self, now: float) -> str:
        """The id of something made at `now` (seconds since 1970)."""
        wanted = (int(now * 1000) - _EPOCH_MS << _SHIFT) + secrets.randbits(_SHIFT)
        with self._lock:
            self._last = max(wanted, self._last + 1)
            return str(self._last)


#: Numbers for file names, unique in a process.
sequence = itertools.count(1)
