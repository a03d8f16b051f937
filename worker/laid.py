"""A file laid down here, in memory or on the disk, before any of it leaves: then its SHA-256 is known by that time.

What takes too long for that leaves in parts. So that they can begin with what lies here, it is known of each end of a
part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from threading import Timer
from time import monotonic

from infra.http import HttpError
from worker.pipe import Mark, marked
from worker.sent import SliceOver
from worker.source import Again, NotHad, Source

#: Bytes that are looked at together.
_PIECE = 2**20


class Laid:
    """What has come of a source, and its marks at the ends of parts of `part` bytes. `known`: bytes that another slice
    has put aside.
    """

    def __init__(self, source: Source, part: int, known: int = 0) -> None:
        self.marks: list[Mark] = []
        self._source = source
        self._part = part
        self.known = known
        self._stopped = False

    def lay(self, enough: float, late: float) -> None:
        """Lay down all of it, if it comes in time. From `enough` on, in monotonic seconds, a part is enough. Raises
        `SliceOver` where not even that came until it was `late`, though something did.
        """
        with self._cut(late):
            self._lay(enough, late)

    @contextmanager
    def _cut(self, late: float) -> Iterator[None]:
        """Stop a source that says nothing any more when it is `late`."""
        clock = Timer(late - monotonic(), self._stop) if late < inf else None
        if clock:
            clock.daemon = True
            clock.start()
        try:
            yield
        except (HttpError, NotHad) as fault:
            if self._stopped:
                raise SliceOver from fault
            raise
        finally:
            if clock:
                clock.cancel()

    def _stop(self) -> None:
        if self._source.size > self.known:
            self._stopped = True
            self._source.stop()

    def _lay(self, enough: float, late: float) -> None:
        ended = self._source.ended
        while not ended:
            self._more()
            ended, now = self._source.ended, monotonic()
            if ended or self._source.size % self._part == 0:
                self.marks.append(marked(self._source))
            if self.marks and now > enough:
                return
            if not ended and now > late and self._source.size > self.known:
                raise SliceOver

    def _more(self) -> None:
        source = self._source
        left = self._part - source.size % self._part
        source.next(source.part_length(min(left, _PIECE), source.size))
        source.report()

    @property
    def rest(self) -> Again:
        """What came after the last of the marks."""
        return self._source.tape.body(self.marks[-1].size if self.marks else 0)
