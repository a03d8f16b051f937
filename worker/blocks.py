"""Memory for files that are held whole, used again and again.

The system hands memory out page by page, cleared, on first touch: for a film of 5 MiB that costs as much CPU as its
SHA-256.
"""

from __future__ import annotations

import threading

#: Blocks that a process keeps: one for each copy that is under way, which of a process are seldom more.
_KEPT = 2


class Blocks:
    """A few blocks of memory that are lent out. A block is free again when no view of it is left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[bytearray] = []

    def take(self, size: int) -> memoryview:
        """A block of `size` bytes. It is not cleared: it may hold bytes of an earlier file."""
        with self._lock:
            free = [block for block in self._kept if _is_free(block)]
            block = next((block for block in free if len(block) >= size), None)
            if block is None:
                block = bytearray(size)
                # A longer one takes the place of what was too short.
                kept = [one for one in self._kept if not any(one is short for short in free)]
                self._kept = [*kept, *free[1:], block][:_KEPT]
            return memoryview(block)[:size]

    def give_back(self) -> None:
        """Return the free blocks to the system."""
        with self._lock:
            self._kept = [block for block in self._kept if not _is_free(block)]


def _is_free(block: bytearray) -> bool:
    """Whether nobody has a view of it: only then it can change its length."""
    try:
        block.append(0)
    except BufferError:
        return False
    block.pop()
    return True
