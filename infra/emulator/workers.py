"""Threads: bounded pools, and a timeline that hands work to them when its time has come."""

import heapq
import itertools
import queue
import threading
import time
import traceback
from collections.abc import Callable

Work = Callable[[], object]


class Pool:
    """At most `size` daemon threads, started when work comes."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stopped = False

    def submit(self, work: Work) -> None:
        """Do `work` as soon as a thread is free; nothing after `stop`."""
        with self._lock:
            if self._stopped:
                return
            if len(self._threads) < self._size:
                name = f"emulator-{self._name}-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._run, name=name, daemon=True))
                self._threads[-1].start()
        self._work.put(work)

    def _run(self) -> None:
        while (work := self._work.get()) is not None and not self._stopped:
            try:
                work()
            except Exception:  # noqa: BLE001 - one broken piece of work must not end the thread for all others
                traceback.print_exc()

    def stop(self) -> None:
        """Take no more work."""
        with self._lock:
            self._stopped = True
        for _ in self._threads:
            self._work.put(None)

    def join(self, deadline: float) -> None:
        """Wait for what is running, until `deadline` (monotonic) at most."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


class Timeline:
    """One thread that calls things at their time. What it calls must be short."""

    def __init__(self) -> None:
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Work]] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="emulator-timeline", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def at(self, when: float, work: Work) -> None:
        """Call `work` at `when` (seconds since 1970), or at once if that has passed."""
        with self._changed:
            heapq.heappush(self._heap, (when, next(self._order), work))
            self._changed.notify()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Work | None:
        with self._changed:
            while not self._stopped:
                wait = self._heap[0][0] - time.time() if self._heap else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(wait)
        return None

    def stop(self) -> None:
        """Forget what is left."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def join(self, deadline: float) -> None:
        """Wait for what is running, until `deadline` (monotonic) at most."""
        if self._thread.ident:
            self._thread.join(max(0.0, deadline - time.monotonic()))
