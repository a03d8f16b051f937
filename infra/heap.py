"""What the C library does with memory that was freed.

A film's decoder takes some megabytes and gives them back, and glibc hands them to the system at once: the next film's
first touch of each page of 4 KiB is a fault and a page to be cleared. That was two thirds of what it costs to prove a
small film.
"""

from __future__ import annotations

import ctypes
import sys

#: Of what lies at the end of a heap, so many bytes stay: a 720p film's decoder with its frames.
_KEPT_BYTES = 16 * 2**20
#: Only what is longer is asked of the system by itself, and goes back by itself: a file that is held, a 4K frame.
_APART_BYTES = 4 * 2**20
#: Names of the two in glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed() -> None:
    """Let this process keep some of what it frees, where its C library can be told."""
    tell = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tell is not None:
        tell(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        tell(_M_MMAP_THRESHOLD, _APART_BYTES)
