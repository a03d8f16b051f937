"""Slots: who may submit, who waits, what a refusal teaches, and what stops an account."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, update

from infra.emulator import Config, Emulator
from infra.emulator.studio import Studio
from infra.stack.servers import Servers
from tests.fakes import MORNING, race
from tests.house import OMNI, TEXT, House, house
from tests.integration.slots_kit import begin, ended, new, refused, the
from tests.integration.submit_kit import Desk
from worker import messages
from worker.jobs import slots
from worker.jobs.machine import Event, Step
from worker.jobs.model import State
from worker.store.accounts import Accounts
from worker.store.moves import Also, Learned
from worker.store.repository import Repository
from worker.store.tables import jobs
from worker.store.turns import NotAdmitted


@given(st.integers(1, 50), st.integers(1, 50), st.integers(-10, 10**6))
def test_a_learned_limit_is_unlearned_step_by_step(configured: int, learned: int, seconds: int) -> None:
    """Between one and the configured slots; never fewer as time goes by; all of them after long enough."""
    now = MORNING + timedelta(seconds=seconds)
    allowed = slots.limit(configured, learned, MORNING, now)

    assert 1 <= allowed <= configured
    assert allowed <= slots.limit(configured, learned, MORNING, now + slots.UNLEARN)
    assert configured == slots.limit(configured, learned, MORNING, MORNING + slots.UNLEARN * 60)


def test_a_slot_that_comes_free_during_the_refusal_is_not_missed(engine: Engine) -> None:
    """Refused a slot, then it comes free and nobody waits yet, then its worker writes that it waits: it is due."""
    store, accounts = Repository(engine), Accounts(engine)
    for number in range(2):
        store.accept(new(f"job{number}"), MORNING)
    assert begin(store, accounts, "job0", 1)
    late = store.begin("job1", Step.SUBMIT, MORNING)
    assert late is not None

    assert () == ended(store, "job0")
    assert ("job1",) == refused(store, accounts, late, 1, MORNING)
    assert ["job1"] == [due.job_id for due in store.claim_due(MORNING, lease=timedelta(1), limit=9)]


def test_who_is_refused_looks_whether_that_still_holds(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the refusal and its being written the slot came free, and nobody saw that anybody waits: it goes on."""
    desk = Desk(engine)
    desk.accounts.expect("default:videos")

    def refused(*_: object) -> None:
        raise NotAdmitted("1 of 1 slots are taken")

    with monkeypatch.context() as patched:
        patched.setattr(desk.accounts, "admit", refused)
        assert State.ACCEPTED is desk.work()

    assert [(messages.SUBMIT, ("job",))] == [(task, args) for task, _, args in desk.queue.sent]
    assert State.RUNNING is desk.work()


@pytest.mark.parametrize("name", ["default", "spare"])
def test_whichever_account_is_configured_again_wakes_who_waits(engine: Engine, name: str) -> None:
    """None of a job's accounts is in the settings, and no job was ever admitted to one: the next sweep after either is
    there lets the job go.
    """
    desk = Desk(engine)
    with engine.begin() as connection:
        connection.execute(update(jobs).values(fallbacks="spare"))
    accounts: Any = desk.provider.accounts
    account = accounts.pop("default")
    assert State.ACCEPTED is desk.work()
    assert [] == desk.accounts.wake_all(desk.clock(), desk.provider.concurrency)
    accounts[name] = account

    assert ["job"] == desk.accounts.wake_all(desk.clock(), desk.provider.concurrency)
    assert (State.RUNNING, name) == (desk.work(), desk.job.account)


def test_racing_workers_never_take_more_than_there_are(engine: Engine) -> None:
    """Twelve jobs at once for five slots: five are submitted, seven wait as rows."""
    store, accounts = Repository(engine), Accounts(engine)
    for number in range(12):
        store.accept(new(f"job{number}"), MORNING)
    admitted = race(*(lambda n=n: begin(store, accounts, f"job{n}", 5) for n in range(12)))

    assert 5 == sum(admitted)


def test_images_take_as_many_slots_as_they_are(engine: Engine) -> None:
    """A job of nine images needs nine slots, has a pack of its own, and goes alone where there are fewer."""
    store, accounts = Repository(engine), Accounts(engine)
    for name, held in (("a", 3), ("b", 3), ("c", 9)):
        store.accept(new(name, held=held, family="images/generations"), MORNING)
    store.accept(new("video"), MORNING)

    assert [True, False, True] == [begin(store, accounts, name, 5) for name in ("a", "b", "video")]
    assert not begin(store, accounts, "c", 5)


def test_a_freed_slot_goes_to_the_caller_who_holds_the_fewest(engine: Engine) -> None:
    """Of a caller with forty waiting jobs and one with a single younger one, the latter is woken."""
    store, accounts = Repository(engine), Accounts(engine)
    for number in range(40):
        store.accept(new(f"many{number:02}", "many"), MORNING + timedelta(seconds=number))
    store.accept(new("single", "few"), MORNING + timedelta(seconds=99))
    assert [True, True] == [begin(store, accounts, f"many{n:02}", 2) for n in range(2)]
    assert not any(begin(store, accounts, f"many{n:02}", 2) for n in range(2, 40))
    assert not begin(store, accounts, "single", 2)
    assert ("single",) == ended(store, "many00")


def test_a_refusal_for_want_of_a_slot_teaches_the_limit(engine: Engine) -> None:
    """1303 with four others running: four are what there is, for a while, or until an operator says otherwise."""
    store, accounts = Repository(engine), Accounts(engine)
    for number in range(6):
        store.accept(new(f"job{number}"), MORNING)
    assert all(begin(store, accounts, f"job{n}", 20) for n in range(5))
    refused = store.get("job4")
    assert refused is not None

    assert 4 == accounts.learn_limit(refused, MORNING)
    assert not begin(store, accounts, "job5", 20, seconds=1)
    assert ["default:videos"] == accounts.forget_limits("default", MORNING)
    assert ["job5"] == [due.job_id for due in store.claim_due(MORNING, lease=timedelta(seconds=20), limit=9)]
    assert begin(store, accounts, "job5", 20, seconds=1)


def test_a_stopped_account_lets_one_probe_through_at_a_time(engine: Engine) -> None:
    """After a stop nobody is admitted; a minute later one job may try; on command all may."""
    store, accounts = Repository(engine), Accounts(engine)
    for number in range(4):
        store.accept(new(f"job{number}"), MORNING)
    assert begin(store, accounts, "job0", 20)
    job = store.get("job0")
    assert job is not None
    accounts.stop(job, "Account balance not enough", MORNING)

    assert not begin(store, accounts, "job1", 20, seconds=30)
    assert [True, False] == [begin(store, accounts, name, 20, seconds=61) for name in ("job1", "job2")]
    assert ["default:videos"] == accounts.resume("default", MORNING)
    assert begin(store, accounts, "job3", 20, seconds=62)


def test_expectations_follow_what_is_seen(engine: Engine) -> None:
    """The average moves towards newer observations and starts with the first."""
    accounts, store = Accounts(engine), Repository(engine)

    def observe(seconds: float) -> None:
        job = store.accept(new(f"job{next(numbers)}"), MORNING).job
        assert store.move(job, Event.SUBMIT_REFUSED, MORNING, also=Also(learned=Learned("kind", seconds)))

    numbers = count()
    assert accounts.expected("kind") is None
    observe(100)
    assert accounts.expected("kind") == 100
    for _ in range(50):
        observe(200)

    assert 195 < (accounts.expected("kind") or 0) <= 200


# --- with a real provider -------------------------------------------------------------------------------------------
@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A Kling with three slots."""
    with Emulator(Config(speed=1000, log=False, concurrency=3)) as running:
        yield running


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house that believes in twenty slots, with a second account."""
    second = {"KLING_URL_SPARE": emulator.url.replace("://", f"://{emulator.config.api_key}@")}
    with house(servers.addresses, engine, emulator, KLING_PACE="0.001", **second) as opened:
        yield opened


def test_a_burst_beyond_the_slots_is_archived_without_a_second_create(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1, P4: twelve jobs for three slots; refusals teach the limit, all end archived, one task each."""
    jobs = [home.submit() for _ in range(12)]
    go_on, make = threading.Event(), Studio.make
    with monkeypatch.context() as patched:
        # Or a machine that is busy with something else sends the fourth when the first one is done.
        patched.setattr(Studio, "make", lambda *given: (go_on.wait(), make(*given))[1])
        try:
            home.drain()
        finally:
            go_on.set()
    (pack,) = home.services.accounts.all()
    assert ("default:videos", 3) == (pack.name, pack.learned_limit)

    assert [State.ARCHIVED] * 12 == home.until_end(*jobs, hurry=2)
    listed = requests.get(f"{home.emulator.url}/_emulator/state", timeout=30).json()["tasks"]
    assert 12 == len({task["external_task_id"] for task in listed}) == len(listed)


def test_a_stopped_account_keeps_its_jobs_and_says_so(home: House) -> None:
    """1102 stops the account; its jobs wait; the probe that succeeds lets them go on."""
    home.fault("create", "status_429_1102")
    jobs = [home.submit(prompt=f"cat {number}") for number in range(3)]
    home.drain()

    (pack,) = home.services.accounts.all()
    assert ("default:videos", True) == (pack.name, "balance" in str(pack.stopped_reason))
    assert [State.ACCEPTED] * 3 == [home.state(job) for job in jobs]
    assert [State.ARCHIVED] * 3 == home.until_end(*jobs, hurry=5)


def test_a_job_that_may_goes_to_the_next_account(home: House) -> None:
    """A request that names two accounts is submitted to the second while the first is stopped."""
    home.fault("create", "status_429_1102")
    first = home.submit()
    home.drain()
    headers = {**home.headers, "Reelhook-Account": "default,spare"}
    second = requests.post(home.url + OMNI, json=TEXT, headers=headers, timeout=30).json()["data"]["task_id"]
    home.drain()

    assert "spare" == home.get(f"/api/jobs/{second}").json()["account"]
    assert [State.ARCHIVED, State.ARCHIVED] == home.until_end(second, first, hurry=5)


def test_a_job_comes_back_from_the_next_account(home: House) -> None:
    """Once sent on to the second account, which stops before it has the job, it goes to the first once that may."""
    home.fault("create", "status_429_1102", times=2)
    home.submit()
    home.drain()
    headers = {**home.headers, "Reelhook-Account": "default,spare"}
    job_id = requests.post(home.url + OMNI, json=TEXT, headers=headers, timeout=30).json()["data"]["task_id"]
    home.drain()
    job, accounts = the(home.services.store, job_id), home.services.accounts
    assert (State.ACCEPTED, "spare", "default") == (job.state, job.account, job.fallbacks)

    accounts.stop(job, "for good", home.clock() + timedelta(days=1))
    accounts.resume("default", home.clock())
    home.clock.ahead += timedelta(minutes=2)
    home.sweep()
    home.drain()

    assert "default" == home.get(f"/api/jobs/{job_id}").json()["account"]
    assert [State.ARCHIVED] == home.until_end(job_id, hurry=2)


def test_a_job_that_waits_for_one_account_is_woken_by_the_other(engine: Engine) -> None:
    """Refused by both, it takes the slot that comes free at the second; the rest of its line goes on at the first."""
    store, accounts = Repository(engine), Accounts(engine)
    for name, account in (("here", "default"), ("there", "spare")):
        store.accept(replace(new(name), account=account), MORNING)
        gate = partial(accounts.admit, job=the(store, name), account=account, configured=1, now=MORNING)
        assert store.move(the(store, name), Event.SUBMIT_BEGUN, MORNING, gate=gate)
    for number in range(2):
        store.accept(replace(new(f"job{number}"), fallbacks="spare"), MORNING + timedelta(seconds=number))
        assert not begin(store, accounts, f"job{number}", 1)

    assert ("job0",) == ended(store, "there")
    assert [] == accounts.wake_all(MORNING, lambda _: 1)


def test_an_idempotency_key_stands_for_one_request(home: House) -> None:
    """P4: the same key and body is the same job; another body is 422; another caller's key is another key."""

    def ask(key: str, **changes: str) -> requests.Response:
        headers = {**home.headers, "Idempotency-Key": key}
        return requests.post(home.url + OMNI, json={**TEXT, **changes}, headers=headers, timeout=30)

    first, again, other = ask('"k1"'), ask("k1"), ask("k2")

    assert first.json()["data"]["task_id"] == again.json()["data"]["task_id"] != other.json()["data"]["task_id"]
    assert 422 == ask("k1", prompt="a dog").status_code
