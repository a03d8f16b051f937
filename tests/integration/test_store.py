from datetime import timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.exc import IntegrityError

from tests.conftest import emptied
from tests.fakes import MORNING, FakeClock, a_file, race
from tests.integration.store_kit import COPYING, LEASE, accepted, led, new
from worker.jobs.access import Caller
from worker.jobs.machine import TABLE, Event, Step
from worker.jobs.model import State
from worker.store.keys import ApiKeys
from worker.store.migrate import migrate
from worker.store.moves import Also
from worker.store.outbox import Attempt, Outbox
from worker.store.repository import Repository
from worker.store.steps import is_ready
from worker.store.tables import api_keys, events, jobs, metadata


def test_migrations_make_exactly_the_tables(migrated: Engine) -> None:
    """What the migrations build is what the code reads and writes; running them again changes nothing."""
    migrate(migrated)

    with migrated.connect() as connection:
        assert [] == compare_metadata(MigrationContext.configure(connection), metadata)
    assert is_ready(migrated)


def test_racing_migrations_do_no_harm(migrated: Engine) -> None:
    """Two release phases at once both end well."""
    assert [None, None] == race(lambda: migrate(migrated), lambda: migrate(migrated))


def test_an_external_id_makes_one_job(engine: Engine) -> None:
    """P4: ten requests at once with one external id are one job, and each is told of it."""
    store = Repository(engine)
    answers = race(*(lambda n=n: store.accept(new(f"job{n}", external_task_id="mine"), MORNING) for n in range(10)))

    assert 1 == len({one.job.id for one in answers}) == sum(one.is_new for one in answers)


def test_callers_do_not_share_external_ids(engine: Engine) -> None:
    """Each caller has a world of external ids, and sees no other's jobs."""
    store = Repository(engine)
    mine = accepted(store, "a", external_task_id="x")
    theirs = accepted(store, "b", caller="other", external_task_id="x")

    assert mine == store.find("default", "x")
    assert theirs == store.find("other", "x")
    assert store.find("default", "b") is None


def test_of_racing_moves_one_wins(engine: Engine) -> None:
    """A job is moved by compare-and-set: of eight who saw the same row, one moves it, and its timeline grows by one."""
    store = Repository(engine)
    job = accepted(store)
    moves = race(*(lambda: store.move(job, Event.SUBMIT_BEGUN, MORNING) for _ in range(8)))

    assert 1 == sum(moved is not None for moved in moves)
    assert ["job.accepted", "job.submitting"] == [event["type"] for event in store.timeline(job.id)]


@given(happened=st.lists(st.sampled_from(Event), max_size=12))
@settings(max_examples=20)
def test_what_was_read_before_a_move_is_of_no_use(migrated: Engine, happened: list[Event]) -> None:
    """Compare-and-set: whoever read a job before it was moved can neither move it nor put it off, wherever it went."""
    store = Repository(emptied(migrated))
    read = [accepted(store)]
    for event in happened:
        if moved := store.move(read[-1], event, MORNING):
            read.append(moved.job)
    for old in read[:-1]:
        assert not store.postpone(old, MORNING + timedelta(days=1), lookups=9)
        assert {None} == {store.move(old, event, MORNING) for event in Event}

    assert read[-1] == store.get("a")


def test_who_has_lost_the_lease_moves_nothing(engine: Engine) -> None:
    """P2: another one took the copy over; what the first finds out, wrong as it may be by now, ends no job."""
    store = Repository(engine)
    job = led(store, accepted(store), *COPYING)
    first = store.lease(job.id, "first", MORNING, LEASE)
    assert first
    assert store.lease(job.id, "second", MORNING + LEASE, LEASE)

    assert store.move(first, Event.FILES_UNPROVABLE, MORNING + LEASE, also=Also(holder="first")) is None
    assert store.move(first, Event.FILES_PROVEN, MORNING + LEASE, also=Also(holder="second"))


@pytest.mark.parametrize("event", [event for state, event in TABLE if state is State.COPYING])
def test_a_move_gives_the_lease_back(engine: Engine, event: Event) -> None:
    """Wherever a job goes from being copied, nobody holds it there: no row says for ever that somebody works on it."""
    store = Repository(engine)
    job = led(store, accepted(store), *COPYING)
    held = store.lease(job.id, "worker", MORNING, LEASE)
    assert held
    assert store.move(held, event, MORNING, also=Also(holder="worker"))

    with engine.connect() as connection:
        assert [(None, None)] == connection.execute(select(jobs.c.lease_owner, jobs.c.lease_until)).all()


def test_an_end_is_told_once(engine: Engine) -> None:
    """P3: of several who see a job end, one writes the delivery; a job without a receiver writes none."""
    store = Repository(engine)
    job = led(store, accepted(store, callback_url="https://app/hook"), *COPYING)
    moves = race(*(lambda: store.move(job, Event.FILES_PROVEN, MORNING) for _ in range(4)))
    quiet = led(store, accepted(store, "b"), *COPYING, Event.FILES_PROVEN)

    assert 1 == sum(len(moved.deliveries) for moved in moves if moved)
    assert 1 == len(Outbox(engine).due(MORNING, 10))
    assert quiet.state is State.ARCHIVED


def test_an_end_is_never_due(engine: Engine) -> None:
    """A job that has ended wants no attention, whatever due time is asked for."""
    store = Repository(engine)
    job = led(store, accepted(store), Event.SUBMIT_BEGUN)
    assert store.move(job, Event.SUBMIT_REFUSED, MORNING, due_at=MORNING) is not None

    assert [] == store.claim_due(MORNING + timedelta(days=1), lease=LEASE, limit=10)


def test_ten_sweeps_claim_each_row_once(engine: Engine) -> None:
    """What is due goes to one sweep, and is due again when nobody did the work within the lease."""
    store = Repository(engine)
    for number in range(40):
        accepted(store, f"job{number:02}")
    claims = race(*(lambda: store.claim_due(MORNING, lease=LEASE, limit=20) for _ in range(10)))
    claimed = [due.job_id for claim in claims for due in claim]

    assert sorted(f"job{number:02}" for number in range(40)) == sorted(claimed)
    assert [] == store.claim_due(MORNING + LEASE / 2, lease=LEASE, limit=100)
    assert 40 == len(store.claim_due(MORNING + LEASE, lease=LEASE, limit=100))


def test_a_sweep_knows_the_step_of_each_state(engine: Engine) -> None:
    """Each open state is swept into the task that takes it further."""
    store = Repository(engine)
    accepted(store, "a")
    led(store, accepted(store, "b"), Event.SUBMIT_BEGUN)
    led(store, accepted(store, "c"), Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN)
    led(store, accepted(store, "d"), *COPYING)

    expected = {"a": Step.SUBMIT, "b": Step.FOLLOW_UP, "c": Step.FOLLOW_UP, "d": Step.ARCHIVE}
    assert expected == {due.job_id: due.step for due in store.claim_due(MORNING, lease=LEASE, limit=10)}


def test_one_worker_copies_a_job(engine: Engine) -> None:
    """P2: a lease is held by one owner, ends by itself, and whoever lost it is told at the next sign of life."""
    store = Repository(engine)
    job = led(store, accepted(store), *COPYING)
    owners = race(*(lambda n=n: store.lease(job.id, f"w{n}", MORNING, LEASE) and f"w{n}" for n in range(6)))
    (first,) = [owner for owner in owners if owner]
    later = MORNING + LEASE

    assert store.progress(job.id, first, MORNING, LEASE, copied=1, total=None)
    assert store.lease(job.id, "successor", later, LEASE)
    assert not store.progress(job.id, first, later, LEASE, copied=2, total=None)


def test_progress_shortens_no_lease(engine: Engine) -> None:
    """P2: one thread of a copy deletes something under a long lease while another reports: it stays so long."""
    store = Repository(engine)
    job = led(store, accepted(store), *COPYING)
    assert store.lease(job.id, "one", MORNING, LEASE)
    assert store.progress(job.id, "one", MORNING, 4 * LEASE, copied=1, total=None)
    assert store.progress(job.id, "one", MORNING, LEASE, copied=2, total=None)

    assert store.lease(job.id, "next", MORNING + 3 * LEASE, LEASE) is None
    assert store.lease(job.id, "next", MORNING + 4 * LEASE, LEASE)


def test_files_are_recorded_once(engine: Engine) -> None:
    """P2: recording a file again changes nothing; another job can't claim the same key."""
    store = Repository(engine)
    led(store, accepted(store, "a"), *COPYING)
    assert store.lease("a", "owner", MORNING, LEASE)
    assert store.add_file("a", "owner", a_file(), MORNING, LEASE, copied=1)
    assert store.add_file("a", "owner", a_file(sha256="1" * 64), MORNING, LEASE, copied=1)
    led(store, accepted(store, "b"), *COPYING)
    assert store.lease("b", "other", MORNING, LEASE)
    with pytest.raises(IntegrityError):
        store.add_file("b", "other", a_file(), MORNING, LEASE, copied=1)

    assert {"a": [a_file()], "b": []} == store.files(["a", "b"])


def test_only_who_holds_the_lease_records_files(engine: Engine) -> None:
    """P2: a worker that lost its lease is told so, and nothing of its file is written."""
    store = Repository(engine)
    led(store, accepted(store, "a"), *COPYING)
    assert store.lease("a", "owner", MORNING, LEASE)

    assert not store.add_file("a", "somebody", a_file(), MORNING, LEASE, copied=1)
    assert [] == store.files(["a"])["a"]


@pytest.mark.parametrize("text_", ["a\0b", "\ud800", "ü" * 10_000])
def test_whatever_a_provider_says_can_be_stored(engine: Engine, text_: str) -> None:
    """An error message that the database's text can't hold does not stop the job from ending."""
    store = Repository(engine)
    job = led(store, accepted(store), Event.SUBMIT_BEGUN)
    moved = store.move(job, Event.SUBMIT_REFUSED, MORNING, changes={"error_message": text_})

    assert moved is not None
    assert moved.job.state is State.FAILED


def test_a_delivery_is_in_one_pair_of_hands(engine: Engine) -> None:
    """P3: of several announcers one gets the delivery; after a miss it is due again with the same id."""
    store, outbox, clock = Repository(engine), Outbox(engine), FakeClock()
    led(store, accepted(store, callback_url="https://app/hook"), *COPYING, Event.FILES_PROVEN)
    (delivery_id,) = outbox.due(clock(), 10)
    claims = [one for one in race(*(lambda: outbox.claim(delivery_id, clock(), LEASE) for _ in range(5))) if one]

    assert [1] == [claim.attempts for claim in claims]
    outbox.missed(claims[0], Attempt(clock(), 0.1, 500, "", "HTTP 500"), clock() + timedelta(seconds=5))
    assert outbox.claim(delivery_id, clock(), LEASE) is None
    clock.advance(5)
    again = outbox.claim(delivery_id, clock(), LEASE)
    assert again is not None
    assert (delivery_id, 2) == (again.id, again.attempts)
    outbox.delivered(again, Attempt(clock(), 0.1, 200))
    assert [] == outbox.due(clock() + timedelta(days=9), 10)


def test_keys_are_found_by_their_hash_alone(engine: Engine) -> None:
    """P8: a key opens the door; the table does not hold it; revoked it is shut; no other secret does."""
    keys = ApiKeys(engine, b"secret")
    key = keys.create("app", MORNING)

    assert keys.caller(key, MORNING) == Caller("app")
    assert keys.caller(key + "x", MORNING) is None
    assert ApiKeys(engine, b"other").caller(key, MORNING) is None
    with engine.connect() as connection:
        row = connection.execute(select(api_keys)).one()
    assert key.encode() not in b"".join(str(value).encode() for value in row)
    assert keys.revoke("app", MORNING)
    assert keys.caller(key, MORNING) is None


def test_the_environment_s_key_can_change(engine: Engine) -> None:
    """A new value of REELHOOK_API_KEY takes the place of the one before under the same name."""
    keys = ApiKeys(engine, b"secret")
    keys.ensure("default", "first-key-of-all", MORNING)
    keys.ensure("default", "second-key-of-all", MORNING)

    found = [keys.caller(key, MORNING) for key in ("first-key-of-all", "second-key-of-all")]
    assert [None, Caller("default")] == found


def test_two_keys_can_not_share_a_name(engine: Engine) -> None:
    """A name stands for one key."""
    keys = ApiKeys(engine, b"secret")
    keys.create("app", MORNING)
    with pytest.raises(IntegrityError):
        keys.create("app", MORNING)


def test_the_timeline_counts_without_gaps(engine: Engine) -> None:
    """Events of a job are numbered 1, 2, 3, whoever wrote them."""
    store = Repository(engine)
    led(store, accepted(store), *COPYING, Event.FILES_PROVEN)

    with engine.connect() as connection:
        numbers = connection.execute(select(events.c.sequence).order_by(events.c.id)).scalars()
        assert [1, 2, 3, 4, 5] == list(numbers)


def test_what_is_due_is_found_by_an_index(engine: Engine) -> None:
    """The sweep reads what is due, not the table: ended jobs are not even in its index."""
    store = Repository(engine)
    for number in range(300):
        accepted(store, f"job{number}")
    with engine.begin() as connection:
        connection.execute(update(jobs).values(due_at=None))
        connection.execute(text("analyze jobs"))
        connection.execute(text("set local enable_seqscan = off"))
        plan = connection.execute(text("explain select id from jobs where due_at <= now() order by due_at limit 5"))
        assert "ix_jobs_due_at" in " ".join(row[0] for row in plan)
        assert 300 == connection.execute(select(func.count()).select_from(jobs)).scalar_one()
