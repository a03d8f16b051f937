"""Seconds that pass for everybody else, too."""

from __future__ import annotations

import time

#: Linux's monotonic clock stands still while the machine sleeps, and this one doesn't; elsewhere there is but one to
#: ask, which on macOS goes on as well. Python's own `time.monotonic` doesn't there.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Seconds since some moment, those included for which the machine slept."""
    return time.clock_gettime(_CLOCK)
