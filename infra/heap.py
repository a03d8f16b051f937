"""What becomes of memory: what is freed, and what processes share that were forked off.

A film's decoder takes some megabytes and gives them back, and glibc hands them to the system at once: the next film's
first touch of each page of 4 KiB is a fault and a page to be cleared. That was two thirds of what it costs to prove a
small film.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Any

#: Of what lies at the end of a heap, so many bytes stay: a 720p film's decoder with its frames.
_KEPT_BYTES = 16 * 2**20
#: Only what is longer is asked of the system by itself, and goes back by itself: a file that is held, a 4K frame.
_APART_BYTES = 4 * 2**20
#: One heap for all threads: with one of its own each keeps what only it may use again, 10 MiB of them in a copy. Python
#: lets one thread allocate at a time anyhow.
_HEAPS = 1
#: Names of the three in glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def keep_freed() -> None:
    """Let this process keep some of what it frees, where its C library can be told."""
    if tell := _of_the_library("mallopt"):
        tell(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        tell(_M_MMAP_THRESHOLD, _APART_BYTES)
        tell(_M_ARENA_MAX, _HEAPS)


def give_back() -> None:
    """Let the system have all that this process has freed: for after a 4K film, of which it would keep 100 MiB."""
    if trim := _of_the_library("malloc_trim"):
        trim(0)


def _of_the_library(name: str) -> Any:
    """What glibc can do; None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def share() -> None:
    """To be called just before a fork: what there is by now stays the parent's and the child's in common. The garbage
    collector writes into every object that it looks at, and would so have copied most of it into each child.
    """
    gc.collect()
    gc.freeze()
