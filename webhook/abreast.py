"""Work that mostly waits, several pieces at a time, with the answers in the order of the questions."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
#: A question, and where its answer goes; None when there are no more.
_Given = tuple[Callable[[], T], "Future[T]"] | None


def in_order(questions: Iterable[Callable[[], T]], count: int) -> Generator[T, None, None]:
    """The answers to `questions`, of which `count` are asked at once, and no more than twice as many taken on ahead.

    Raises what a question raises. To be closed: nothing is waited for then, and what was not begun is left. Threads end
    with the process, also in the middle of an answer, so that whoever presses Ctrl-C need not wait for a server.
    """
    given: SimpleQueue[_Given[T]] = SimpleQueue()
    ahead: deque[Future[T]] = deque()
    for _ in range(count):
        threading.Thread(target=_answer, args=(given,), name="abreast", daemon=True).start()
    try:
        for question in questions:
            ahead.append(Future())
            given.put((question, ahead[-1]))
            if len(ahead) == 2 * count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for answer in ahead:
            answer.cancel()
        for _ in range(count):
            given.put(None)


def _answer(given: SimpleQueue[_Given[T]]) -> None:
    while (one := given.get()) is not None:
        question, answer = one
        if not answer.set_running_or_notify_cancel():
            continue
        try:
            answer.set_result(question())
        except BaseException as fault:  # noqa: BLE001 - it is raised where the answer is waited for
            answer.set_exception(fault)
