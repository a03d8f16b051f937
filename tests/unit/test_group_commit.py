from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from tests.fakes import MORNING, FakeQueue
from webhook import group_commit, nudges
from webhook.group_commit import Crowded, GroupCommit
from webhook.nudges import Nudges
from worker import messages
from worker.store.inbox import Arrival


def arrivals(count: int, size: int = 2) -> list[Arrival]:
    """So many callbacks, each for a job of its own."""
    return [Arrival(f"job{number}", b"x" * size, "understood", "succeed", MORNING) for number in range(count)]


class Rows:
    """An inbox that keeps what it was given in which batches; `refuse` says what it raises for one."""

    def __init__(self, refuse: Any = lambda _: None) -> None:
        self.batches: list[list[str]] = []
        self.refuse = refuse

    def put(self, batch: Sequence[Arrival]) -> list[bool | None]:
        """As `Inbox.put`."""
        self.batches.append([one.job_id for one in batch])
        if fault := self.refuse(batch):
            raise fault
        return [True for _ in batch]


def refused(sqlstate: str | None) -> OperationalError:
    """What SQLAlchemy raises when the server says so."""
    said = Exception()
    said.sqlstate = sqlstate  # type: ignore[attr-defined]  # as psycopg's errors have it
    return OperationalError("insert", {}, said)


async def stored(rows: Rows, given: list[Arrival]) -> list[Any]:
    """What each caller is told, all having come at once."""
    writes = GroupCommit(rows.put)
    try:
        return await asyncio.gather(*(writes.put(one) for one in given), return_exceptions=True)
    finally:
        writes.close()


def test_what_comes_at_once_is_written_at_once() -> None:
    """One write for all that came before it began, in the order they came; every caller is told of its own."""
    rows = Rows()

    assert [True] * 40 == asyncio.run(stored(rows, arrivals(40)))
    assert [[one.job_id for one in arrivals(40)]] == rows.batches


def test_a_write_has_bounds() -> None:
    """Neither rows nor bytes of one statement grow without end."""
    rows = Rows()
    asyncio.run(stored(rows, arrivals(group_commit._AT_ONCE + 1)))
    asyncio.run(stored(rows, arrivals(3, size=group_commit._BYTES_AT_ONCE // 2)))

    assert [group_commit._AT_ONCE, 1, 2, 1] == [len(batch) for batch in rows.batches]


def test_one_bad_row_spoils_no_other_s_lot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that the database refuses because of its rows is written one by one: only the bad one fails."""
    monkeypatch.setattr(group_commit, "_APART_SECONDS", 3600)
    rows = Rows(lambda batch: refused("40P01") if any(one.job_id == "job3" for one in batch) else None)
    told = asyncio.run(stored(rows, arrivals(6)))

    assert [3] == [number for number, one in enumerate(told) if one is not True]
    assert 7 == len(rows.batches)


def test_what_goes_one_by_one_does_so_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may wait for a lock: when their time is over all that are left are told, and others have their turn."""
    monkeypatch.setattr(group_commit, "_APART_SECONDS", 0.0)
    rows = Rows(lambda batch: refused("55P03") if len(batch) > 1 else None)
    told = asyncio.run(stored(rows, arrivals(6)))

    assert [OperationalError] * 6 == [type(one) for one in told]
    assert 1 == len(rows.batches)


@pytest.mark.parametrize("sqlstate", [None, "57P01", "25006", "53100", "08006"])
def test_a_database_that_is_away_is_not_asked_for_each(sqlstate: str | None) -> None:
    """Then all that wait are told at once."""
    rows = Rows(lambda _: refused(sqlstate))
    told = asyncio.run(stored(rows, arrivals(6)))

    assert [OperationalError] * 6 == [type(one) for one in told]
    assert 1 == len(rows.batches)


def test_who_waits_is_bounded() -> None:
    """A database that can't keep up is not hidden behind a queue without end: the next one is turned away."""
    told = asyncio.run(stored(Rows(), arrivals(group_commit._WAITING + 3)))

    assert (group_commit._WAITING, 3) == (told.count(True), sum(isinstance(one, Crowded) for one in told))


def test_few_callbacks_are_named_and_many_share_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker hears little of a burst: some jobs by name, then one sweep for all the others."""
    monkeypatch.setattr(nudges, "time", SimpleNamespace(monotonic=lambda: 1.0))  # a burst is one however long it takes
    queue = FakeQueue()

    async def burst() -> None:
        nudge = Nudges(queue)
        for number in range(100):
            nudge(f"job{number}")
        assert 5 == len(queue.sent)
        await asyncio.sleep(0.3)  # the window's length is what is tested

    asyncio.run(burst())

    assert [(messages.FOLLOW_UP, (f"job{number}",)) for number in range(5)] == [(m[0], m[2]) for m in queue.sent[:5]]
    assert [(messages.SWEEP, "sweep", ())] == queue.sent[5:]
