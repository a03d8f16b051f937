"""Threads for work that mostly waits: bounded in number, and never waited for.

They end with their process. Work that is cut off so was only leased, and is found by the sweep.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from infra.log import logger

log = logger(__name__)


class Hands:
    """As many pieces of work at once as there are hands."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self.count = count
        self._busy = 0

    @property
    def free(self) -> int:
        """How many hands have nothing to do."""
        return self.count - self._busy

    def give(self, work: Callable[[], None]) -> None:
        """Have `work` done beside us. To be called only while a hand is free, and by one thread."""
        with self._lock:
            self._busy += 1
        threading.Thread(target=self._do, args=(work,), name="hand", daemon=True).start()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            # Nobody is left who could catch it; what it worked on is due again when its lease ends.
            log.exception("hand.failed")
        finally:
            with self._lock:
                self._busy -= 1
