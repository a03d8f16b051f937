from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.abreast import in_order


@given(st.lists(st.integers()), st.integers(1, 5))
def test_answers_come_in_the_order_of_the_questions(numbers: list[int], count: int) -> None:
    """Whatever is asked, and however many at once; the threads end with the last answer."""
    before = set(threading.enumerate())
    questions = [lambda number=number: number for number in numbers]

    assert numbers == list(in_order(questions, count))
    for thread in set(threading.enumerate()) - before:
        thread.join(100)
    assert set() == set(threading.enumerate()) - before


def test_as_many_are_asked_at_once_as_may_be() -> None:
    """Each of four waits until all four are there."""
    together = threading.Barrier(4, timeout=100)

    assert [0, 1, 2, 3] == sorted(in_order([together.wait] * 4, 4))


def test_no_more_are_taken_on_than_are_soon_asked() -> None:
    """Of a million jobs no list is made: twice as many questions as threads are ahead of the first answer."""
    taken = iter(range(1_000_000))

    with closing(in_order(((lambda: None) for _ in taken), 4)) as answers:
        next(answers)

    assert 8 == next(taken)


def test_a_question_s_fault_is_raised_in_its_place() -> None:
    """What was answered before it is heard, and nobody waits for what was asked after it."""
    never = threading.Event()
    questions: list[Callable[[], object]] = [lambda: "well", lambda: int("ill"), never.wait]
    answers = in_order(questions, 2)

    assert "well" == next(answers)
    with pytest.raises(ValueError, match="ill"):
        next(answers)
    never.set()


def test_who_stops_waits_for_nobody() -> None:
    """Two answers never come; what was not begun is not begun any more."""
    never, asked = threading.Event(), threading.Event()
    both = threading.Barrier(3, timeout=100)

    def stuck() -> None:
        both.wait()
        never.wait()

    def questions() -> Iterator[Callable[[], None]]:
        yield from (stuck, stuck, asked.set)
        both.wait()
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        list(in_order(questions(), 2))
    never.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(100)

    assert not asked.is_set()
