"""Callbacks as rows: each once, whoever holds what, and its job due."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Engine, select, text

from infra.db import make_engine, single
from infra.settings import Settings
from tests.fakes import MORNING, race
from tests.integration.store_kit import COPYING, LEASE, accepted, led
from worker.jobs.machine import Event, Step
from worker.store.inbox import Arrival, Inbox
from worker.store.moves import Also
from worker.store.repository import Repository
from worker.store.tables import callbacks


def test_a_hundred_equal_callbacks_are_one_row(engine: Engine) -> None:
    """P5: repetitions are counted, not stored, however they come together; one of them is new."""
    store, inbox = Repository(engine), Inbox(engine)
    accepted(store)
    one = Arrival("a", b"{}", "understood", "succeed", MORNING)
    seen = [is_new for told in race(*(lambda: inbox.put([one] * 5) for _ in range(12))) for is_new in told]
    for _ in range(40):
        seen += inbox.put([one])

    assert (1, 99) == (seen.count(True), seen.count(False))
    with engine.connect() as connection:
        assert [99] == list(connection.execute(select(callbacks.c.repeats)).scalars())


def test_writes_about_the_same_jobs_in_any_order_go_through(engine: Engine) -> None:
    """P5: two batches lock the rows that they share in one order, so that neither is refused for a deadlock."""
    store, inbox = Repository(engine), Inbox(engine)
    names = [f"job{number:02}" for number in range(20)]
    for name in names:
        accepted(store, name)

    for turn in range(10):
        at = MORNING - timedelta(minutes=turn + 1)  # each turn makes every job due earlier
        batches = [
            [Arrival(name, f"{turn} {step}".encode(), "understood", "succeed", at) for name in names[::step]]
            for step in (1, -1)
        ]
        told = race(*(partial(inbox.put, batch) for batch in batches * 2))
        assert [True] * 40 + [False] * 40 == sorted((is_new is True for one in told for is_new in one), reverse=True)


def test_a_callback_makes_its_job_due(engine: Engine) -> None:
    """Storing a callback and making its job due are one statement: a lost message costs one sweep."""
    store, inbox = Repository(engine), Inbox(engine)
    job = led(store, accepted(store), Event.SUBMIT_BEGUN)
    later = MORNING + timedelta(hours=1)
    store.move(job, Event.SUBMIT_TAKEN, MORNING, due_at=later)
    assert [] == store.claim_due(MORNING, lease=LEASE, limit=10)

    inbox.put([Arrival("a", b"{}", "understood", "succeed", MORNING)])

    assert ["a"] == [due.job_id for due in store.claim_due(MORNING, lease=LEASE, limit=10)]


@pytest.mark.parametrize("word", ["still running", "taken", "adopted"])
def test_a_callback_that_comes_during_the_work_is_not_written_over(engine: Engine, word: str) -> None:
    """Kling was asked, the task ended and called back, and only then the worker writes when to ask again: it is due."""
    store, inbox, later = Repository(engine), Inbox(engine), MORNING + timedelta(hours=1)
    job = led(store, accepted(store), Event.SUBMIT_BEGUN)
    if word == "still running":
        job = led(store, job, Event.SUBMIT_TAKEN)
    if word != "taken":
        begun = store.begin("a", Step.FOLLOW_UP, MORNING)
        assert begun is not None
        job = begun
    else:
        store.postpone(job, later)
        job = store.get("a") or job
    assert [] == store.claim_due(MORNING, lease=LEASE, limit=10)  # it is in a worker's hands

    inbox.put([Arrival("a", b"{}", "understood", "succeed", MORNING)])
    if word == "still running":
        assert store.postpone(job, later)
    else:
        assert store.move(job, Event.SUBMIT_TAKEN, MORNING, due_at=later)

    assert ["a"] == [due.job_id for due in store.claim_due(MORNING, lease=LEASE, limit=10)]


def test_a_callback_waits_for_nobody_who_holds_its_job(engine: Engine) -> None:
    """P1, P5: while a job's row is held, its callbacks and others' are stored at once; a later sweep makes it due."""
    store, inbox = Repository(engine), Inbox(engine)
    for name in ("held", "free"):
        job = led(store, accepted(store, name), Event.SUBMIT_BEGUN)
        store.move(job, Event.SUBMIT_TAKEN, MORNING, due_at=MORNING + timedelta(hours=1))
    said = [Arrival(name, b"{}", "understood", "succeed", MORNING) for name in ("held", "free")]
    with engine.begin() as holder:
        # As strongly as a row can be held, and then written by work that saw nothing of the callback.
        holder.execute(text("select 1 from jobs where id = 'held' for update"))
        assert [True, True] == inbox.put(said)
        inbox.remind(MORNING)
        assert ["free"] == [due.job_id for due in store.claim_due(MORNING, lease=LEASE, limit=10)]
        holder.execute(text("update jobs set due_at = :later where id = 'held'"), {"later": MORNING + LEASE})

    inbox.remind(MORNING)
    assert ["held"] == [due.job_id for due in store.claim_due(MORNING, lease=LEASE, limit=10)]
    inbox.remind(MORNING)
    assert [] == store.claim_due(MORNING, lease=LEASE, limit=10)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_body_that_is_understood_at_last_is_new(engine: Engine, *, at_once: bool) -> None:
    """A secret was set late or changed: the same body counts from the first time that its signature held."""
    store, inbox = Repository(engine), Inbox(engine)
    accepted(store)
    refused = Arrival("a", b"{}", "refused: no signature matches", None, MORNING)
    later = MORNING + timedelta(minutes=5)
    understood = Arrival("a", b"{}", "understood", "succeed", later)
    if at_once:
        assert [False, True, False] == inbox.put([refused, understood, refused])
    else:
        assert [[True], [False], [True], [False]] == [
            inbox.put([one]) for one in (refused, refused, understood, refused)
        ]

    kept = {"verdict": "understood", "status": "succeed", "received_at": later}
    assert [kept] == [{name: row[name] for name in kept} for row in inbox.of("a")]


def test_a_callback_that_says_nothing_new_costs_no_query(engine: Engine) -> None:
    """That a running task still runs is kept, and asks Kling nothing; where the create's reply is missing, it does."""
    store, inbox = Repository(engine), Inbox(engine)
    job = led(store, accepted(store), Event.SUBMIT_BEGUN)
    store.postpone(job, MORNING + timedelta(minutes=1))
    said = [Arrival("a", word, "understood", "processing", MORNING, ends=False) for word in (b"1", b"2")]
    assert [True] == inbox.put(said[:1])
    assert ["a"] == [due.job_id for due in store.claim_due(MORNING, lease=LEASE, limit=10)]
    store.move(job, Event.SUBMIT_TAKEN, MORNING, due_at=MORNING + timedelta(hours=1))

    assert [True] == inbox.put(said[1:])
    assert [] == store.claim_due(MORNING, lease=LEASE, limit=10)


def test_callbacks_on_time_late_and_missed_are_told_apart(engine: Engine) -> None:
    """What a poll had found before the callback came was late; the delay counts from the end that Kling names."""
    store, inbox = Repository(engine), Inbox(engine)
    ended, found = MORNING - timedelta(seconds=10), MORNING
    came = {"prompt": 2, "slow": 6, "late": 30, "missed": None}

    def call_back(*, after: bool) -> None:
        said = [
            Arrival(name, b"{}", "understood", "succeed", ended + timedelta(seconds=seconds))
            for name, seconds in came.items()
            if seconds is not None and (ended + timedelta(seconds=seconds) > found) is after
        ]
        assert [True] * len(said) == inbox.put(said)

    running = [led(store, accepted(store, name), Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN) for name in came]
    call_back(after=False)
    for job in running:
        note = {"ended_at": ended.isoformat()}
        assert store.move(job, Event.TASK_SUCCEEDED, found, note=note, also=Also(found=True))
    call_back(after=True)

    health = inbox.health(MORNING - timedelta(days=1))
    assert (2, 1, 1, 6.0) == health[:4]
    assert (0, 0, 0, None, None) == inbox.health(MORNING + timedelta(days=1))


def test_a_callback_for_an_ended_job_moves_nothing(engine: Engine) -> None:
    """A late callback is kept, and does not wake a job that has ended."""
    store, inbox = Repository(engine), Inbox(engine)
    led(store, accepted(store), *COPYING, Event.FILES_PROVEN)

    assert [True] == inbox.put([Arrival("a", b"{}", "understood", "succeed", MORNING)])
    assert [] == store.claim_due(MORNING + timedelta(days=1), lease=LEASE, limit=10)


def test_a_callback_for_an_unknown_job_is_not_stored(engine: Engine) -> None:
    """No job, no row."""
    assert [None] == Inbox(engine).put([Arrival("nobody", b"{}", "understood", None, MORNING)])
    with engine.connect() as connection:
        assert [] == list(connection.execute(select(callbacks)))


#: Whether a door has waited for a lock for a while, with what it writes without a look at jobs.
_WAITS = text("""
select count(*) from pg_stat_activity where application_name = 'door' and wait_event_type = 'Lock'
    and query not like '%nudged%' and clock_timestamp() - query_start > interval '0.3 seconds'
""")


def test_a_callback_that_another_door_holds_sets_nobody_apart(engine: Engine, settings: Settings) -> None:
    """It is being written elsewhere for more than a lock may take: others' jobs are due as soon as theirs come."""
    store, door = Repository(engine), make_engine(settings, application="door", connections=1, lock_seconds=0.2)
    for name in ("same", "other"):
        job = led(store, accepted(store, name), Event.SUBMIT_BEGUN)
        store.move(job, Event.SUBMIT_TAKEN, MORNING, due_at=MORNING + timedelta(hours=1))
    inbox = Inbox(single(door))
    same = [Arrival("same", b"{}", "understood", "succeed", MORNING)]
    assert [True] == inbox.put(same)
    with engine.connect() as holder, engine.connect() as looker, ThreadPoolExecutor(1) as pool:
        holder.execute(text("select 1 from callbacks where job_id = 'same' for update"))
        put = pool.submit(inbox.put, same)
        while not put.done() and not looker.execute(_WAITS).scalar_one():
            looker.rollback()  # or it would see the same all the time
            time.sleep(0.02)
        holder.rollback()
        assert [False] == put.result()
    assert [True] == inbox.put([Arrival("other", b"{}", "understood", "succeed", MORNING)])
    door.dispose()

    assert {"same", "other"} == {due.job_id for due in store.claim_due(MORNING, lease=LEASE, limit=10)}


def test_what_was_kept_while_jobs_were_locked_asks_for_ends_only(engine: Engine, settings: Settings) -> None:
    """That a running task goes on running is no reason to ask for it then either."""
    store, door = Repository(engine), make_engine(settings, application="door", connections=1, lock_seconds=0.2)
    for name in ("goes on", "ended"):
        job = led(store, accepted(store, name), Event.SUBMIT_BEGUN)
        store.move(job, Event.SUBMIT_TAKEN, MORNING, due_at=MORNING + timedelta(hours=1))
    inbox = Inbox(single(door))
    with engine.begin() as holder:
        holder.execute(text("lock table jobs in access exclusive mode"))
        going = Arrival("goes on", b"{}", "understood", "Processing", MORNING, ends=False)
        assert [True, True] == inbox.put([going, Arrival("ended", b"{}", "understood", "succeed", MORNING)])
    door.dispose()

    inbox = Inbox(engine)
    inbox.remind(MORNING)
    assert ["ended"] == [due.job_id for due in store.claim_due(MORNING, lease=LEASE, limit=10)]
