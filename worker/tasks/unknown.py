"""What a result links to by fields that nobody knows: how long the known files of a job wait for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from urllib.parse import urlsplit

from infra.store_errors import StoreError
from worker.jobs.model import OTHER, Job
from worker.kling.wire import Output, Task
from worker.sent import SliceOver
from worker.source import NotHad, Unproven
from worker.tasks.book import Book

#: Seconds that a host may cost one task in vain before it is not asked for more, and all of them together.
OF_A_HOST, OF_ALL = 10.0, 60.0
#: Seconds that known files may wait because a server asks for it.
_SHORT_WAIT = 10
_LEFT = "it was not asked for, as other such links had kept the known files waiting in vain"


class Patience:
    """What one task's known files have waited for in vain so far. Where there are none, the rest is all that was paid
    for, and is waited for as they are.
    """

    def __init__(self, job: Job, task: Task, book: Book) -> None:
        self._first = not job.archive_attempts
        self._known = any(output.kind != OTHER for output in task.outputs)
        self._book = book
        self._spent: defaultdict[str, float] = defaultdict(float)  #: seconds, by host

    def spares(self, output: Output) -> bool:
        """Whether the job does without `output` if it can't be had."""
        return self._known and output.kind == OTHER

    def refusal(self, output: Output) -> str | None:
        """Why `output` is not even asked for; None where it is."""
        if not self.spares(output):
            return None
        over = self._spent[_host(output)] >= OF_A_HOST or sum(self._spent.values()) >= OF_ALL
        return _LEFT if over else None

    def waits(self, output: Output, fault: Unproven) -> bool:
        """Whether the job waits for `output` that could not be had: for what nobody knows, which need not be a file at
        all, once, and if it may well come.
        """
        soon = isinstance(fault, NotHad) and fault.passes and fault.wait <= _SHORT_WAIT
        return not self.spares(output) or (soon and self._first)

    @contextmanager
    def counted(self, output: Output) -> Iterator[None]:
        """Try `output` in this block. What it costs in vain is counted. Where it is spared, what would end the job, or
        keep it from its end, is said as `Unproven`: that it has to be begun anew each time, or that the store refuses
        this one object.
        """
        began = monotonic()
        try:
            with self._spared(output):
                yield
        except Unproven:
            self._spent[_host(output)] += monotonic() - began
            raise

    @contextmanager
    def _spared(self, output: Output) -> Iterator[None]:
        restarts = self._book.restarts
        try:
            yield
        except StoreError as fault:
            if not self.spares(output) or fault.is_of_bucket:
                raise
            raise NotHad(str(fault), passes=not fault.lasts) from fault
        except SliceOver:
            if not self.spares(output) or self._book.restarts == restarts:
                raise
            self._book.restarts = restarts
            raise Unproven("its source is another one each time, and too slow to be had in one go") from None


def _host(output: Output) -> str:
    """Which server it is at, port included."""
    try:
        return urlsplit(output.url).netloc
    except ValueError:
        return ""
