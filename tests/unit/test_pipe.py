"""Reading ahead: what comes out is what went in, the marks are those of the parts' ends, and little is held."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate, cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.http import NoAnswer
from worker import source as sources
from worker import tape
from worker.jobs.transfer import Transfer
from worker.pipe import PIECES, Mark, Part, Pipe, Stopped
from worker.source import Source, Unproven
from worker.tape import Pieces, Tape

NOTHING = Transfer("video", "original", 0, "bucket", "key")


@dataclass
class Answer:
    """A stream of these pieces that counts how many were taken. After the last it waits to be stopped, if told so."""

    pieces: list[bytes]
    says_length: bool = True
    endless: bool = False
    status: int = 200
    taken: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def headers(self) -> dict[str, str]:
        """A length, or none."""
        length = sum(map(len, self.pieces)) + self.endless
        return {"Content-Length": str(length)} if self.says_length else {}

    @property
    def chunks(self) -> Iterator[bytes]:
        """The pieces."""
        for piece in self.pieces:
            self.taken += 1
            yield piece
        if self.endless:
            assert self.stopped.wait(100)
            raise NoAnswer("stopped")

    def stop(self) -> None:
        """As `infra.http.Stream` has it."""
        self.stopped.set()


def source(answer: Answer) -> Source:
    """A file that is fetched from its beginning, and is no film."""
    return Source(answer, NOTHING, largest=2**30, walked=False, digest=None, progress=lambda *_: None)


def too_large_to_hold(patch: pytest.MonkeyPatch, pieces: list[bytes], says_length: bool) -> Source:  # noqa: FBT001 - as Hypothesis draws it
    """A file of these pieces that goes in parts."""
    patch.setattr(sources, "HELD_BYTES", 0)
    return source(Answer(pieces, says_length))


def drained(pipe: Pipe, most: int) -> tuple[bytes, Mark]:
    """The next part, read as an HTTP client does."""
    part = pipe.part(most)
    body = b"".join(iter(part.read, b""))
    assert part.drained.is_set()
    assert part.mark is not None
    return body, part.mark


def kept_of(part: Part) -> bytes:
    """What came of a part that is not whole."""
    return b"".join(map(bytes, iter(part.kept.body().read, b""))) if part.kept else b""


some_pieces = st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=40)


@given(pieces=some_pieces, lengths=st.lists(st.integers(1, 300), min_size=1, max_size=9), says_length=st.booleans())
def test_what_comes_out_is_what_went_in(pieces: list[bytes], lengths: list[int], *, says_length: bool) -> None:
    """Whatever the pieces, the parts have the lengths that were asked for, and each mark is that of its part's end."""
    whole, wanted, following = b"".join(pieces), cycle(lengths), cycle(lengths)
    bodies: list[bytes] = []
    marks: list[Mark] = []
    with (
        pytest.MonkeyPatch.context() as patch,
        Pipe(too_large_to_hold(patch, pieces, says_length), next(following), lambda *_: next(following)) as pipe,
    ):
        length = next(wanted)
        while not marks or not marks[-1].last:
            body, mark = drained(pipe, length)
            bodies.append(body)
            marks.append(mark)
            length = next(wanted)
            assert length == mark.next

    assert whole == b"".join(bodies)
    assert list(islice(cycle(lengths), len(bodies) - 1)) == list(map(len, bodies[:-1]))
    ends = list(accumulate(map(len, bodies)))
    assert ends == [mark.size for mark in marks]
    assert [zlib.crc32(whole[:end]) for end in ends] == [mark.crc32 for mark in marks]
    assert [sha256(whole[:end]).digest() for end in ends] == [mark.digest.digest() for mark in marks]


@given(pieces=some_pieces, part_bytes=st.integers(1, 300), reads=st.integers(0, 60), says_length=st.booleans())
def test_a_cut_loses_nothing_that_was_handed_out(
    pieces: list[bytes], part_bytes: int, reads: int, *, says_length: bool
) -> None:
    """Cut anywhere, what came of the last part is there, who reads it can't take it for a whole one, and it follows
    the parts before.
    """
    whole, parts, mark = b"".join(pieces), b"", None
    with (
        pytest.MonkeyPatch.context() as patch,
        Pipe(too_large_to_hold(patch, pieces, says_length), part_bytes, lambda *_: part_bytes) as pipe,
    ):
        while mark is None or (mark.full and not mark.last):
            part, body = pipe.part(part_bytes, Pieces()), b""
            with suppress(Stopped):
                while piece := part.read():
                    body += piece
                    reads -= 1
                    if reads <= 0:
                        pipe.cut()
            mark = part.mark
            assert mark is not None
            if mark.full:
                assert part.kept is None
                parts += body

    assert (b"" if mark.full else body) == kept_of(part)
    assert whole[: mark.size] == parts + kept_of(part)
    assert mark.last == (mark.full and mark.size == len(whole))


@given(count=st.integers(0, 60), read=st.integers(0, 60))
def test_few_pieces_are_held(count: int, read: int) -> None:
    """However far the source could go ahead, at most `PIECES` lie in between, and one in the hand on either side."""
    answer = Answer([b"x"] * count, endless=True)
    with Pipe(source(answer), 1000, lambda *_: 1000) as pipe:
        part = pipe.part(1000)
        for number in range(min(read, count)):
            part.read()

            assert answer.taken <= number + 1 + PIECES + 1


@pytest.mark.parametrize("says_length", [True, False])
def test_a_cut_waits_for_no_source_that_says_how_long_its_file_is(*, says_length: bool) -> None:
    """What came is there at once. Who says no length is not stopped: its end would be taken for the file's."""
    answer = Answer([b"x"] * 3, says_length, endless=True)
    with Pipe(source(answer), 1000, lambda *_: 1000) as pipe:
        part = pipe.part(1000, Pieces())
        assert b"xxx" == b"".join(part.read() for _ in range(3))
        pipe.cut()
        assert says_length == answer.stopped.is_set()
        if says_length:
            with pytest.raises(Stopped):
                part.read()
            assert (False, b"xxx") == (part.mark and part.mark.full, kept_of(part))


def test_a_source_that_brings_nothing_is_no_slice_that_is_over() -> None:
    """Nothing new comes until it is late: that is waited for on, and fails in the end, or nobody would ever give up."""
    answer = Answer([b"x"] * 3, endless=True)
    with Pipe(source(answer), 1000, lambda *_: 1000, known=3) as pipe:
        part = pipe.part(1000, Pieces())
        assert b"xxx" == b"".join(part.read() for _ in range(3))
        pipe.cut()
        assert False is answer.stopped.is_set()
        answer.stop()
        with pytest.raises(NoAnswer):
            part.read()


def test_no_cut_comes_before_something_new() -> None:
    """Of what others put aside all may come before it is late, and nothing else: a slice would have brought nothing."""
    with Pipe(source(Answer([b"x"] * 40)), 1000, lambda *_: 1000, known=30) as pipe:
        pipe.cut()
        part = pipe.part(1000, Pieces())
        with pytest.raises(Stopped):
            b"".join(iter(part.read, b""))

    assert b"x" * 31 == kept_of(part)


def test_leaving_early_ends_a_reader_that_waits() -> None:
    """A source that says nothing more is stopped, and whoever sends hears that no more will come."""
    answer = Answer([b"x"] * 3, endless=True)
    with Pipe(source(answer), 1000, lambda *_: 1000) as pipe:
        part = pipe.part(1000)
        assert b"xxx" == b"".join(part.read() for _ in range(3))

    assert answer.stopped.is_set()
    assert [] == [thread for thread in threading.enumerate() if thread.name == "source"]
    with pytest.raises(Stopped):
        part.read()


def test_what_the_source_raises_reaches_the_sender() -> None:
    """A file that ends before its length is a fault of the source, told to who reads the part."""
    answer = Answer([b"x"] * 3, endless=True)
    answer.stopped.set()
    with Pipe(source(answer), 1000, lambda *_: 1000) as pipe, pytest.raises(NoAnswer, match="stopped"):
        list(iter(pipe.part(1000).read, b""))
    answer.says_length = False
    answer.endless = False
    short = source(answer)
    short.length = 5
    with Pipe(short, 1000, lambda *_: 1000) as pipe, pytest.raises(Unproven, match="3 bytes came of 5"):
        list(iter(pipe.part(1000).read, b""))


@given(sizes=st.lists(st.integers(1, 40), max_size=30), start=st.integers(0, 50), at=st.integers(0, 900))
def test_a_tape_keeps_both_ends(sizes: list[int], start: int, at: int) -> None:
    """What it gives is what passed; it gives all of the beginning and of the end, and holds little beyond."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tape, "HEAD_BYTES", 60)
        patch.setattr(tape, "TAIL_BYTES", 100)
        end = start + sum(sizes)
        whole = bytes(number % 251 for number in range(end))
        kept, place = Tape(start), start
        for size in sizes:
            kept.add(whole[place : place + size])
            place += size
        given = kept.read(at, 10)

        assert whole[at : at + len(given)] == given
        passed = start <= at < end
        assert bool(given) == passed or (passed and 60 <= at < end - 100)
        assert sum(bool(kept.read(byte, 1)) for byte in range(end)) <= 60 + 100 + 2 * 40
