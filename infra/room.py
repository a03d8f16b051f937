"""Memory for what is decoded: a large film or picture takes hundreds of MiB, so a machine has one of them at a time.

Its processes agree by a lock on a file, which the system takes back from one that is killed.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Protocol

from infra.heap import give_back
from infra.log import logger

log = logger(__name__)

#: Pixels of a film up to which several are decoded at once, 1080p: each takes some 35 MiB, more with many references.
SMALL_FILM = 1920 * 1088
#: Pixels of the largest film that is decoded, 4K in any shape: up to 300 MiB with as many references as there can be.
LARGEST_FILM = 4096 * 2304
#: Bytes that a picture takes while it is decoded: up to which several are at once, and which the largest one takes.
SMALL_PICTURE, LARGEST_PICTURE = 32 * 2**20, 288 * 2**20
#: The same a pixel, by Pillow's name of its format, measured: a JPEG whose lines come in several passes, a WebP.
BYTES_A_PIXEL = {"JPEG": 12, "PNG": 4, "GIF": 4, "WEBP": 16, "AVIF": 10}

#: Seconds for which one file may have the room. Who decodes for longer hangs, and is waited for no more.
_LONGEST_SECONDS = 900.0
#: Seconds between two words of one who waits, and between two looks at the file, which nobody is told of.
_WAIT_SECONDS = 5.0
_LOOK_SECONDS = 0.1


class Claim(Protocol):
    """Asks for the room, where it is needed: that is known once a file's head was read."""

    def __call__(self, *, large: bool) -> None:
        """Wait until whoever had something large is done."""


@contextmanager
def room(alive: Callable[[], object] = lambda: None) -> Iterator[Claim]:
    """Room for one file, to be left once all that was made of it is forgotten. `alive` is called now and then by one
    who waits; what it raises ends the wait.
    """
    with ExitStack() as held:

        def claim(*, large: bool) -> None:
            if large:
                held.enter_context(_alone(alive))

        yield claim


@contextmanager
def _alone(alive: Callable[[], object]) -> Iterator[None]:
    with ExitStack() as held:
        if _TURN.take(alive):
            held.callback(_TURN.give)
        _lock(held.enter_context(_file()), alive)
        yield
        give_back()


class _Turn:
    """A lock of threads that knows since when it is held."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = 0.0

    def take(self, alive: Callable[[], object]) -> bool:
        """Whether it was had, and is to be given back; False where whoever holds it hangs."""
        began = time.monotonic()
        while not self._lock.acquire(timeout=_WAIT_SECONDS):
            alive()
            if time.monotonic() - max(began, self._since) > _LONGEST_SECONDS:
                log.warning("room.held_too_long", by="a thread of this process")
                return False
        self._since = time.monotonic()
        return True

    def give(self) -> None:
        """Let the next one have it."""
        self._lock.release()


#: Of this process one thread at a time asks for the file, so that they also agree where there is none.
_TURN = _Turn()


def _lock(file: int | None, alive: Callable[[], object]) -> None:
    began = told = time.monotonic()
    while file is not None:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            if time.monotonic() - began > _LONGEST_SECONDS < time.time() - os.fstat(file).st_mtime:
                log.warning("room.held_too_long", by="another process")
                os.utime(file)
                return
            time.sleep(_LOOK_SECONDS)
        except OSError as fault:  # a file system that has no locks
            log.warning("room.none", reason=fault.strerror)
            return
        else:
            os.utime(file)  # since when it is held
            return
        if time.monotonic() - told > _WAIT_SECONDS:
            alive()
            told = time.monotonic()


@contextmanager
def _file() -> Iterator[int | None]:
    """The file that processes of this user agree by; None where it can't be had, or is somebody else's."""
    try:
        # Asking where such files belong fails, too, where no folder can be written to.
        path = Path(tempfile.gettempdir(), f"reelhook-{os.getuid()}.room")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        log.warning("room.none", reason=fault.strerror)
        yield None
        return
    try:
        yield file if os.fstat(file).st_uid == os.getuid() else None
    finally:
        os.close(file)  # which gives the lock back
