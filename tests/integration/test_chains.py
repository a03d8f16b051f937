"""Rows that lead from job to job, under threads that race."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, select

from worker.inputs import Inputs
from worker.jobs.machine import Event
from worker.jobs.model import State
from worker.pipelines import Pipelines
from worker.store.chains import After, EarlierEnded
from worker.store.repository import NewJob, Repository
from worker.store.tables import jobs


def now() -> datetime:
    """Real time."""
    return datetime.now(UTC)


def put(store: Repository, name: str, *earlier: str) -> None:
    """Accept a job that stands on others."""
    depth = 1 + max((job.depth for job in map(store.get, earlier) if job), default=-1)
    after = After({one: one for one in earlier}, depth) if earlier else None
    new = NewJob(name, "me", "default", "videos/omni-video", None, None, b"f", b"{}", after=after)
    store.accept(new, now())


def end(store: Repository, name: str, after: float) -> None:
    """Cancel a job, `after` seconds from now."""
    job = store.get(name)
    assert job is not None
    time.sleep(after)
    store.move(job, Event.CANCEL_ASKED, now())


def test_a_job_that_waits_is_found_by_whoever_ends_the_other(engine: Engine) -> None:
    """P1: accepted, looked at and put off while the earlier job ends in another thread: due at once, or refused."""
    store = Repository(engine)
    pipelines = Pipelines(store, Inputs(None, None), {}, None)
    for turn in range(40):
        first, second = f"a{turn}", f"b{turn}"
        put(store, first)
        ending = threading.Thread(target=end, args=(store, first, turn % 10 / 800))
        ending.start()
        try:
            put(store, second, first)
        except EarlierEnded:
            ending.join()
            assert store.get(second) is None
            continue
        waiting = store.get(second)
        assert waiting is not None
        pipelines.settle(waiting, now())
        ending.join()
        with engine.connect() as connection:
            row = connection.execute(select(jobs.c.state, jobs.c.due_at).where(jobs.c.id == second)).one()
        assert row.state == State.FAILED or (row.state == State.WAITING and row.due_at <= now())


def test_rows_lead_to_what_was_there_before(engine: Engine) -> None:
    """A chain is seen whole from each of its jobs, what stands on the same earlier one is no part of it."""
    store = Repository(engine)
    for name, earlier in (("a", ()), ("b", ("a",)), ("c", ("a", "b")), ("d", ("c",)), ("other", ("a",))):
        put(store, name, *earlier)

    def seen(name: str) -> list[str]:
        return [job.id for job in store.chains.members(name)]

    assert [["a", "b", "c", "d"]] * 3 == [seen("b"), seen("c"), seen("d")]
    assert ["a", "other"] == seen("other")
    assert {"a", "b", "c", "d", "other"} == set(seen("a"))
    assert (["a", "b"], ["d"]) == store.chains.neighbours("c")
    assert [0, 1, 2, 3] == [job.depth for job in store.chains.members("c")]


def test_what_ended_badly_is_nothing_to_stand_on(engine: Engine) -> None:
    """The check is made under the lock of the transaction that accepts, and leaves no row behind."""
    store = Repository(engine)
    put(store, "a")
    first = store.get("a")
    assert first is not None
    store.move(first, Event.CANCEL_ASKED, now())

    with pytest.raises(EarlierEnded, match="cancelled"):
        put(store, "b", "a")
    assert store.get("b") is None
