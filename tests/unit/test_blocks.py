"""Memory that is used again belongs to one file at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.blocks import Blocks
from worker.tape import Tape


@given(sizes=st.lists(st.integers(0, 50), max_size=30), held=st.integers(0, 5))
def test_what_somebody_still_looks_at_is_nobody_elses(sizes: list[int], held: int) -> None:
    """However long a file is, and however many others are held: none of its bytes changes as long as a view lives."""
    blocks, looks = Blocks(), list[memoryview]()
    for number, size in enumerate(sizes):
        room = blocks.take(size)
        room[:] = bytes([number % 256]) * size
        looks = [*looks, room[1:]][-held:] if held else []
        del room

    numbers = [number % 256 for number in range(len(sizes))][-held:] if held else []
    wanted = [
        bytes([number]) * max(size - 1, 0) for number, size in zip(numbers, sizes[-held:] if held else [], strict=True)
    ]
    assert wanted == [bytes(look) for look in looks]


def test_memory_is_used_again_and_given_back() -> None:
    """The next file has the block of one that is gone, also a shorter one; a longer one has a new one in its place."""
    blocks = Blocks()
    blocks.take(9)[:] = b"the first"
    assert b"the" == bytes(blocks.take(3))
    blocks.take(20)
    assert [20] == [len(block) for block in blocks._kept]
    held = blocks.take(5)
    blocks.give_back()
    assert [20] == [len(block) for block in blocks._kept]
    del held
    blocks.give_back()
    assert [] == blocks._kept


def test_of_the_file_before_nothing_is_read() -> None:
    """P2: what did not come yet is not there, whatever the memory holds."""
    before = Tape(held=9)
    before.add(b"the first")
    del before
    tape = Tape(held=9)
    tape.add(b"ano")

    assert (b"ano", b"", b"ano") == (
        tape.read(0, 9),
        tape.read(3, 6),
        b"".join(map(bytes, iter(tape.body().read, b""))),
    )
