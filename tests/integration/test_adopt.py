"""What Kling made for a job that has ended without it is fetched all the same: once, and for nothing."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text, update

from infra.http import NoAnswer
from tests.conftest import emptied
from tests.fakes import a_job, race
from tests.house import House
from tests.integration.submit_kit import MISSING, Desk, Said, said
from tests.receiver import Receiver
from worker.adoption import Adoption, NotAdopted
from worker.jobs.machine import Event
from worker.jobs.model import Job, State
from worker.jobs.tokens import callback_token
from worker.store.adoptions import STRAY
from worker.store.inbox import Arrival, Inbox
from worker.store.tables import callbacks, jobs
from worker.tasks.adopt import call_up
from worker.tasks.follow_up import follow_up

WORDS = ("processing", "succeed", "failed")
#: By the end of a job, the words of Kling's of its task that make it worth a job.
WORTH = {State.UNKNOWN: set(WORDS), State.EXPIRED: {"succeed"}, State.FAILED: {"processing", "succeed"}}


def shown(word: str, external: str | None = "job", made: int = 1) -> Said:
    """Kling has the task, and says whose it is."""
    whose = {"task_info": {"external_task_id": external}} if external else {}
    return said(data={"task_id": "k1", "task_status": word, "created_at": made, **whose})


def ended(desk: Desk, state: State = State.UNKNOWN) -> Job:
    """The job at an end that Kling may know more of."""
    desk.wire.says = lambda _method: NoAnswer("gone")
    desk.work()
    if state is State.EXPIRED:
        assert desk.store.move(desk.job, Event.SUBMIT_TAKEN, desk.clock(), changes={"provider_task_id": "k1"})
    ends = {
        State.UNKNOWN: Event.SUBMIT_UNSETTLED,
        State.FAILED: Event.SUBMIT_REFUSED,
        State.EXPIRED: Event.TASK_LOST,
    }
    assert desk.store.move(desk.job, ends[state], desk.clock())
    assert state is desk.job.state
    return desk.job


def called(desk: Desk, body: bytes = b"1") -> None:
    """A callback came for the job."""
    Inbox(desk.engine).put([Arrival("job", body, "understood", "succeed", desk.clock())])


def heard(desk: Desk) -> None:
    """A worker takes the message that a callback, or a look around, has sent."""
    rows: Any = {"store": desk.store, "queue": desk.queue, "clock": desk.clock}
    follow_up("job", begin=desk.begin, accounts=desk.accounts, provider=desk.provider, **rows)


def asked(desk: Desk, task: str | None = None) -> Job:
    """Somebody asks for it by hand."""
    return Adoption(desk.store, desk.provider, desk.clock).adopt(desk.job, task).job


def others(desk: Desk) -> list[tuple[str, str, str]]:
    """The jobs that there are beside the first one."""
    with desk.engine.connect() as connection:
        query = select(jobs.c.state, jobs.c.adopted_from, jobs.c.provider_task_id).where(jobs.c.id != "job")
        return [tuple(row) for row in connection.execute(query)]


def unheard(desk: Desk) -> int:
    """Callbacks that nobody has looked into."""
    with desk.engine.connect() as connection:
        return connection.execute(select(func.count()).where(callbacks.c.unheard)).scalar_one()


ONE = [("running", "job", "k1")]


def test_a_callback_after_the_end_brings_the_film(home: House, app: Receiver) -> None:
    """The job stays unknown; another one of its caller's gets the task, archives it, tells of it; nothing is paid."""
    old = home.submit(callback_url=app.url, prompt="a cat [fate: no_callback]")
    home.drain()
    with home.services.engine.begin() as connection:
        gone = {"state": "unknown", "due_at": None, "provider_task_id": None, "submitted_at": None}
        connection.execute(update(jobs).where(jobs.c.id == old).values(**gone))
    address = f"{home.url}/callbacks/kling/{old}/{callback_token(home.settings.secret, old)}"
    hint = {"task_id": "1", "task_status": "succeed"}
    assert 204 == requests.post(address, json=hint, timeout=30).status_code  # the emulator's own might come too early
    while not (new := home.get(f"/api/jobs/{old}").json()["adopted_by"]):
        home.drain()

    assert [State.ARCHIVED, State.UNKNOWN] == home.until_end(new, old)
    job = home.services.store.get(new)
    assert job
    assert (app.url, old) == (job.callback_url, home.get(f"/api/jobs/{new}").json()["adopted_from"])
    assert [(new, old, "archived")] == [
        (body["task_id"], body["reelhook"]["adopted_from"], body["reelhook"]["state"]) for body in app.bodies
    ]
    assert (1, False) == (home.creates()[old], new in home.creates())
    told = [event["data"]["reason"] for event in home.services.store.timeline(old) if event["type"] == "job.attention"]
    assert ["task_found"] == told
    listed = home.get("/kling/v1/videos/omni-video").json()["data"]
    assert {old: "failed", new: "succeed"} == {one["task_id"]: one["task_status"] for one in listed}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("end", WORTH)
def test_what_is_worth_a_job_gets_one(engine: Engine, end: State, word: str) -> None:
    """What may bring something, or settle what it cost; what is as the job says already brings none."""
    desk = Desk(engine)
    ended(desk, end)
    desk.wire.says = lambda _method: shown(word)
    called(desk)
    heard(desk)

    assert (ONE if word in WORTH[end] else []) == others(desk)
    assert (end, 0) == (desk.job.state, unheard(desk))


@given(acts=st.lists(st.sampled_from(["called", "heard", "asked", "missing", "silent", "there"]), max_size=12))
@settings(max_examples=15)
def test_a_task_is_adopted_once_in_whatever_order(migrated: Engine, acts: list[str]) -> None:
    """Callbacks, messages and commands, doubled and lost, while Kling answers, doesn't, or says that it has none: never
    two jobs, never a create; the end is never left; and what a callback told of is fetched once Kling shows it.
    """
    desk = Desk(emptied(migrated))
    before = ended(desk)
    says: dict[str, Said] = {"missing": MISSING, "silent": NoAnswer("gone"), "there": shown("succeed")}
    creates = len(desk.wire.creates)
    for act in acts:
        if act in says:
            desk.wire.says = lambda _method, act=act: says[act]  # type: ignore[misc]  # mypy can't infer a lambda with defaults
        elif act == "asked" and desk.wire.says("GET") is says["there"]:
            asked(desk)
        elif act == "called":
            called(desk, str(len(desk.wire.calls)).encode())
        else:
            heard(desk)
        assert len(others(desk)) <= 1
    told = "called" in acts
    desk.wire.says = lambda _method: says["there"]
    desk.queue.sent.clear()
    call_up(store=desk.store, queue=desk.queue)
    for _ in range(len(desk.queue.sent)):
        heard(desk)

    assert ONE == others(desk) if told else len(others(desk)) <= 1
    assert (before, creates, 0) == (desk.job, len(desk.wire.creates), unheard(desk))


@pytest.mark.parametrize("made", [1, 1795251600000, 10**16])
def test_when_it_was_made_is_believed_as_far_as_it_can_be(engine: Engine, made: int) -> None:
    """Not before the job asked for it, nor in another age: the day on which Kling deletes it is counted from there."""
    desk = Desk(engine)
    before = ended(desk)
    desk.wire.says = lambda _method: shown("succeed", made=made)
    desk.clock.advance(86400)
    called(desk)
    heard(desk)
    one = desk.store.adoptions.by("job")

    assert one
    assert one.submitted_at
    assert before.created_at <= one.submitted_at <= desk.clock()


def test_what_ended_its_processes_is_looked_into_by_a_person_only(engine: Engine) -> None:
    """A job was set aside whose look-up ends whoever makes it: no callback has it made again, a command may."""
    desk = Desk(engine)
    desk.wire.says = lambda _method: NoAnswer("gone")
    desk.work()
    called(desk)
    desk.begin.set_aside(desk.job)
    calls = len(desk.wire.calls)
    desk.wire.says = lambda _method: shown("succeed")
    called(desk, b"2")
    call_up(store=desk.store, queue=desk.queue)
    heard(desk)
    assert (calls, 0, []) == (len(desk.wire.calls), unheard(desk), others(desk))
    asked(desk)

    assert ONE == others(desk)


def test_racing_commands_and_callbacks_make_one_job(engine: Engine) -> None:
    """Six at the same moment: one new job, and each is told of it."""
    desk = Desk(engine)
    job = ended(desk)
    desk.wire.says = lambda _method: shown("succeed")
    called(desk)
    made: list[str] = []
    race(*(lambda: made.append(asked(desk).id) for _ in range(4)), *(lambda: heard(desk) for _ in range(2)))

    assert ONE == others(desk)
    assert (4, 1) == (len(made), len({*made}))
    assert ["task_found"] == [
        event["data"]["reason"]
        for event in desk.store.timeline(job.id)
        if event["type"] == "job.attention" and event["data"]["reason"] != "unknown"
    ]


def test_what_kling_does_not_answer_is_asked_again(engine: Engine) -> None:
    """While Kling is away the callback stays unheard, sweeps leave it alone, and a look each minute sends it again."""
    desk = Desk(engine)
    ended(desk)
    called(desk)
    for _ in range(3):
        heard(desk)
        Inbox(engine).remind(desk.clock())
        desk.clock.advance(86400)
    assert ([], 1) == (others(desk), unheard(desk))
    desk.wire.says = lambda _method: shown("succeed")
    call_up(store=desk.store, queue=desk.queue)
    assert [("job",)] == [args for _, _, args in desk.queue.sent]
    heard(desk)
    assert ONE == others(desk)
    call_up(store=desk.store, queue=desk.queue)

    assert 1 == sum(args == ("job",) for _, _, args in desk.queue.sent)


def test_a_task_that_kling_does_not_have_is_believed_after_an_hour(engine: Engine) -> None:
    """A task shows itself late, but not that late: then the callback is done with."""
    desk = Desk(engine)
    ended(desk)
    called(desk)
    desk.wire.says = lambda _method: MISSING
    heard(desk)
    assert 1 == unheard(desk)
    desk.clock.advance(3601)
    heard(desk)

    assert ([], 0) == (others(desk), unheard(desk))


def test_what_was_told_before_the_end_counts_as_well(engine: Engine) -> None:
    """A callback said that there is a task, and Kling could not be asked for days: it is looked into after the end."""
    desk = Desk(engine)
    desk.wire.says = lambda _method: NoAnswer("gone")
    desk.work()
    called(desk)
    heard(desk)
    assert desk.store.move(desk.job, Event.SUBMIT_UNSETTLED, desk.clock())
    desk.wire.says = lambda _method: shown("succeed")
    call_up(store=desk.store, queue=desk.queue)
    heard(desk)

    assert ONE == others(desk)


def test_a_callback_of_a_job_that_has_what_it_wants_is_nothing_to_look_into(engine: Engine) -> None:
    """It is stored, and Kling is not asked."""
    desk = Desk(engine)
    desk.wire.says = lambda _method: NoAnswer("gone")
    desk.work()
    for event in (Event.SUBMIT_TAKEN, Event.TASK_FAILED):
        assert desk.store.move(desk.job, event, desk.clock(), changes={"provider_task_id": "k1"})
    calls = len(desk.wire.calls)
    called(desk)
    heard(desk)

    assert (0, calls, []) == (unheard(desk), len(desk.wire.calls), others(desk))
    with pytest.raises(NotAdopted, match="failed"):
        asked(desk)


@pytest.mark.parametrize("external", [None, "else"])
def test_a_task_by_its_own_id_must_be_the_job_s(engine: Engine, external: str | None) -> None:
    """`--task` names somebody else's, or one of which Kling does not say whose it is: nobody gets it."""
    desk = Desk(engine)
    ended(desk)
    desk.wire.says = lambda _method: shown("succeed", external)
    with pytest.raises(NotAdopted, match="not proven"):
        asked(desk, "k1")

    assert [] == others(desk)


def test_rows_and_values_agree_on_what_is_astray(engine: Engine) -> None:
    """The condition on a row and that on a job are the same, for every state, count of creates and task."""
    row = "(select :state as state, :submissions as submissions, :task as provider_task_id) jobs"
    agree = text(f"select {STRAY} from {row}")  # noqa: S608 - ours
    with engine.connect() as connection:
        for state in State:
            for submissions, task in ((0, None), (1, None), (1, "k1")):
                job = a_job(state=state, submissions=submissions, provider_task_id=task)
                values = {"state": state, "submissions": submissions, "task": task}
                assert job.is_stray == connection.execute(agree, values).scalar_one(), job


def test_by_hand(home: House) -> None:
    """What no callback told of is fetched by the command, once; it says why where there is nothing to fetch."""
    assert "no job nobody" in home.typed("adopt", "nobody").output
    old = home.submit(prompt="a cat [fate: no_callback]")
    home.drain()
    assert "it is running" in home.typed("adopt", old).output
    task = home.services.store.get(old)
    assert task
    with home.services.engine.begin() as connection:
        gone = {"state": "unknown", "due_at": None, "provider_task_id": None}
        connection.execute(update(jobs).where(jobs.c.id == old).values(**gone))
    wrong = home.typed("adopt", old, "--task", "1")
    assert (1, True) == (wrong.exit_code, "no such task" in wrong.output)
    first, again = home.typed("adopt", old, "--task", str(task.provider_task_id)), home.typed("adopt", old)
    assert [(0, True), (0, True)] == [
        (first.exit_code, "has it now" in first.output),
        (again.exit_code, "has it already" in again.output),
    ]
    (said,) = [line for line in first.output.splitlines() if "has it now" in line]  # the door's log may be there, too
    new = said.split()[3]

    assert [State.ARCHIVED] == home.until_end(new)
    assert (1, False) == (home.creates()[old], new in home.creates())
