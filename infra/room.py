"""Memory for what is decoded: a large film or picture takes hundreds of MiB, so a process has one of them at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Pixels of a film up to which several are decoded at once, 1080p: each takes some 35 MiB, more with many references.
SMALL_FILM = 1920 * 1088
#: Pixels of the largest film that is decoded, 4K in any shape: up to 300 MiB with as many references as there can be.
LARGEST_FILM = 4096 * 2304
#: Bytes that a picture takes while it is decoded: up to which several are at once, and which the largest one takes.
SMALL_PICTURE, LARGEST_PICTURE = 32 * 2**20, 288 * 2**20
#: The same a pixel, by Pillow's name of its format, measured: a JPEG whose lines come in several passes, a WebP.
BYTES_A_PIXEL = {"JPEG": 12, "PNG": 4, "GIF": 4, "WEBP": 16, "AVIF": 10}

_LARGE = threading.Lock()
_WAIT_SECONDS = 5.0


@contextmanager
def room(*, large: bool, alive: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Whoever has something large waits until the last one is done. `alive` is called meanwhile."""
    if not large:
        yield
        return
    while not _LARGE.acquire(timeout=_WAIT_SECONDS):
        alive()
    try:
        yield
    finally:
        _LARGE.release()
