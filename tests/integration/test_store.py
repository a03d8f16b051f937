from datetime import timedelta
from functools import partial

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.exc import IntegrityError

from tests.fakes import MORNING, FakeClock, a_file, race
from worker.jobs.access import Caller
from worker.jobs.machine import Event, Step
from worker.jobs.model import Job, State
from worker.store.inbox import Arrival, Inbox
from worker.store.keys import ApiKeys
from worker.store.migrate import is_ready, migrate
from worker.store.moves import Also
from worker.store.outbox import Attempt, Outbox
from worker.store.repository import NewJob, Repository
from worker.store.tables import api_keys, callbacks, events, jobs, metadata

LEASE = timedelta(seconds=20)


def new(job_id: str = "a", **changes: str | None) -> NewJob:
    """A job as the door would hand it over."""
    values = {
        "caller": "default",
        "account": "default",
        "family": "videos/omni-video",
        "external_task_id": None,
        "callback_url": None,
    }
    return NewJob(id=job_id, fingerprint=b"f", request=b"{}", **{**values, **changes})  # type: ignore[arg-type]  # test data


def accepted(store: Repository, job_id: str = "a", **changes: str | None) -> Job:
    """A job that was just accepted."""
    return store.accept(new(job_id, **changes), MORNING)[0]


def led(store: Repository, job: Job, *path: Event) -> Job:
    """The job after everything in `path` happened."""
    for event in path:
        moved = store.move(job, event, MORNING)
        assert moved is not None
        job = moved.job
    return job


COPYING = (Event.SUBMIT_BEGUN, Event.SUBMIT_TAKEN, Event.TASK_SUCCEEDED)


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


def test_files_are_recorded_once(engine: Engine) -> None:
    """P2: recording a file again changes nothing; another job can't claim the same key."""
    store = Repository(engine)
    led(store, accepted(store, "a"), *COPYING)
    assert store.lease("a", "owner", MORNING, LEASE)
    assert store.add_file("a", "owner", a_file(), MORNING, LEASE, copied=1)
    assert store.add_file("a", "owner", a_file(sha256="1" * 64), MORNING, LEASE, copied=1)

    assert [a_file()] == store.files(["a"])["a"]


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
