"""What is laid down before it leaves: nothing is lost where it goes on in parts."""

from __future__ import annotations

import zlib
from hashlib import sha256
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_pipe import Answer, some_pieces, source
from worker import source as sources
from worker.laid import Laid
from worker.pipe import Mark, Pipe
from worker.sent import SliceOver
from worker.source import Source

on_disk = st.booleans()


def a_source(patch: pytest.MonkeyPatch, pieces: list[bytes], *, on_disk: bool) -> Source:
    """A file of these pieces that is laid down."""
    if on_disk:
        patch.setattr(sources, "HELD_BYTES", 0)
    return source(Answer(pieces))


@given(pieces=some_pieces, part=st.integers(1, 300), on_disk=on_disk)
def test_all_that_comes_in_time_is_there(pieces: list[bytes], part: int, *, on_disk: bool) -> None:
    """All of it can be read, and there is a mark at each part's end and at the file's."""
    whole = b"".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        came = a_source(patch, pieces, on_disk=on_disk)
        laid = Laid(came, part)
        laid.lay(inf, inf)

    assert (whole, b"") == (b"".join(iter(came.tape.body().read, b"")), b"".join(iter(laid.rest.read, b"")))
    assert [*range(part, len(whole), part), len(whole)] == [mark.size for mark in laid.marks]
    assert [False] * (len(laid.marks) - 1) + [True] == [mark.last for mark in laid.marks]


@given(pieces=some_pieces, part=st.integers(1, 300), following=st.integers(1, 300))
def test_what_does_not_goes_on_in_parts(pieces: list[bytes], part: int, following: int) -> None:
    """After the first part that lies here, and what came behind it, the rest follows as it comes: no byte is missing or
    twice there, and each mark is that of its part's end.
    """
    whole = b"".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        came = a_source(patch, pieces, on_disk=True)
        laid = Laid(came, part)
        laid.lay(-inf, inf)
        bodies, marks = [], list(laid.marks)
        for start, mark in zip([0, *(mark.size for mark in marks)], marks, strict=False):
            bodies.append(b"".join(iter(came.tape.body(start, mark.size).read, b"")))
        before = [bytes(piece) for piece in iter(laid.rest.read, b"")]
        if not came.ended:
            bodies, marks = _drained(Pipe(came, following, lambda *_: following, before), following, bodies, marks)

    assert whole == b"".join(bodies)
    ends = [mark.size for mark in marks]
    assert [zlib.crc32(whole[:end]) for end in ends] == [mark.crc32 for mark in marks]
    assert [sha256(whole[:end]).digest() for end in ends] == [mark.digest.digest() for mark in marks]
    assert marks[-1].last


def _drained(pipe: Pipe, most: int, bodies: list[bytes], marks: list[Mark]) -> tuple[list[bytes], list[Mark]]:
    """All parts of a pipe, after those before."""
    with pipe:
        while not marks[-1].last:
            part = pipe.part(most)
            bodies = [*bodies, b"".join(iter(part.read, b""))]
            assert part.mark is not None
            marks = [*marks, part.mark]
    return bodies, marks


@given(pieces=some_pieces, known=st.integers(0, 300), on_disk=on_disk)
def test_what_is_too_slow_for_a_part_ends_the_slice(pieces: list[bytes], known: int, *, on_disk: bool) -> None:
    """What came of it is there to be put aside: more than is there already."""
    whole = b"".join(pieces)
    known = min(known, len(whole) - 1)
    with pytest.MonkeyPatch.context() as patch:
        came = a_source(patch, [*pieces, b"x"], on_disk=on_disk)
        laid = Laid(came, len(whole) + 1, known)
        with pytest.raises(SliceOver):
            laid.lay(-inf, -inf)

    come = b"".join(iter(laid.rest.read, b""))
    assert len(come) > known
    assert whole.startswith(come)
