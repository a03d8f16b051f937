"""A file laid down here, in memory or on the disk, before any of it leaves: then its SHA-256 is known by that time.

What takes too long for that leaves in parts. So that they can begin with what lies here, it is known of each end of a
part.
"""

from __future__ import annotations

from time import monotonic

from worker.pipe import Mark, marked
from worker.sent import SliceOver
from worker.source import Again, Source

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
        self._known = known

    def lay(self, enough: float, late: float) -> None:
        """Lay down all of it, if it comes in time. From `enough` on, in monotonic seconds, a part is enough. Raises
        `SliceOver` where not even that came until it was `late`.
        """
        ended = self._source.ended
        while not ended:
            self._more()
            ended, now = self._source.ended, monotonic()
            if ended or self._source.size % self._part == 0:
                self.marks.append(marked(self._source))
            if self.marks and now > enough:
                return
            if not ended and now > late and self._source.size > self._known:
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
