"""Deliveries: what is kept of each attempt, when the next one comes, sending again, and receivers that behave badly."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

import pytest
import requests
from sqlalchemy import Engine, select, text

from infra.emulator import Emulator
from infra.stack.servers import Servers
from tests.fakes import FakeClock
from tests.house import House, house
from tests.integration.deliveries_kit import ask, ended, told, work
from tests.receiver import Receiver, Reply, receiver
from worker.jobs.model import State
from worker.jobs.signing import Signing
from worker.store.tables import deliveries


def test_every_attempt_is_kept(home: House, app: Receiver) -> None:
    """Status, time and the first kB of each answer; the list shows where it stands."""
    app.answers = [Reply(500, body=b"no room \0" + b"x" * 5000), 404, 200]
    delivery = ended(home, "a", app.url)
    for _ in range(3):
        work(home, 400)
    shown = ask(home, "GET", f"/deliveries/{delivery}").json()
    (row,) = ask(home, "GET", "/deliveries?job=a").json()["deliveries"]

    assert [(1, 500), (2, 404), (3, 200)] == [(one["number"], one["status"]) for one in shown["tried"]]
    assert [1023, 0, 0] == [len(one["answer"]) for one in shown["tried"]]
    assert ["HTTP 500", "HTTP 404", None] == [one["error"] for one in shown["tried"]]
    assert ("delivered", 3, "video.failed", app.url) == (row["state"], row["attempts"], row["type"], row["url"])
    assert 1 == len({headers["webhook-id"] for headers in app.headers})


@pytest.mark.parametrize(
    ("said", "least", "most"), [("100", 100, 100), ("999999999", 3600, 3600), ("soon", 4, 6), ("-5", 4, 6)]
)
def test_retry_after_is_honoured_up_to_an_hour(home: House, app: Receiver, said: str, least: int, most: int) -> None:
    """A receiver that asks for time gets it, within reason; nonsense is not heard."""
    app.answers = [Reply(429, {"Retry-After": said})]
    delivery = ended(home, "a", app.url)
    before = home.clock()
    work(home)
    after = home.clock()
    with home.services.engine.connect() as connection:
        due = connection.execute(select(deliveries.c.due_at).where(deliveries.c.id == delivery)).scalar_one()

    assert due is not None
    assert before + timedelta(seconds=least) <= due <= after + timedelta(seconds=most)


class Broken:
    """Calls that fail as none should."""

    def send(self, *_: object, **__: object) -> NoReturn:
        """Fail."""
        raise RuntimeError("s3cr3t")

    stream = send


@pytest.mark.parametrize("subscribed", [False, True])
def test_what_never_left_is_no_attempt(home: House, app: Receiver, *, subscribed: bool) -> None:
    """P3: for three days the database is a step behind what this version reads. It costs neither an attempt nor a wait
    of the schedule, nor does it look like a process that died.
    """
    if subscribed:
        home.services.subscriptions.create("default", app.url, ["video.failed"], Signing.V1, home.clock())
    delivery = ended(home, "a", "" if subscribed else app.url)
    app.answers = [500, 200]
    with renamed(home.services.engine, "files", "later"):
        for _ in range(14):
            work(home, 5 * 3600)
        row = ask(home, "GET", f"/deliveries/{delivery}").json()
        assert ("pending", 0, []) == (row["state"], row["attempts"], row["tried"])
    work(home, 20)
    work(home, 7)

    assert ("delivered", [500, 200]) == told(home, delivery)
    assert [] == home.services.aside.newest(10)


@contextmanager
def renamed(engine: Engine, table: str, name: str) -> Iterator[None]:
    """A table that this version does not find."""
    with engine.begin() as connection:
        connection.execute(text(f"alter table {table} rename to {name}"))
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"alter table {name} rename to {table}"))


def test_an_attempt_that_fails_here_is_kept_and_backed_off(home: House, app: Receiver) -> None:
    """Whatever goes wrong in an attempt, it is one: logged, tried again later, and its receiver is not blamed."""
    whole, delivery = home.announcer(), ended(home, "a", app.url)
    clock = FakeClock(home.clock())  # or the second of two would be due, if a moment takes seconds
    broken = replace(whole, ways=replace(whole.ways, http=Broken()), clock=clock)
    for _ in range(2):
        broken.announce(delivery)
        broken.announce(delivery)
        clock.advance(400)
    home.clock.ahead += timedelta(seconds=800)
    shown = ask(home, "GET", f"/deliveries/{delivery}").json()
    work(home)

    assert "pending" == shown["state"]
    assert ["RuntimeError here, see the log"] * 2 == [one["error"] for one in shown["tried"]]
    assert ("delivered", [None, None, 200]) == told(home, delivery)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(home: House, app: Receiver, status: int) -> None:
    """An answer that points elsewhere is a failure like any other: nothing is sent where it points."""
    with receiver() as inside:
        app.answers = [Reply(status, {"Location": inside.url})]
        delivery = ended(home, "a", app.url)
        work(home)

        assert ("pending", [status]) == told(home, delivery)
        assert [] == inside.raw


def test_an_endless_answer_is_cut(home: House, app: Receiver) -> None:
    """2xx counts when it is said; of what follows a kB is read, and no more is waited for."""
    app.answers = [Reply(200, body=b"ha" * 4096, endless=True)]
    delivery = ended(home, "a", app.url)
    work(home)

    assert ("delivered", [200]) == told(home, delivery)


def test_a_receiver_inside_is_never_reached(
    servers: Servers, engine: Engine, emulator: Emulator, app: Receiver
) -> None:
    """SSRF: an address that is not public is refused at each attempt, until the schedule is used up."""
    with house(servers.addresses, engine, emulator, GUARD_ALLOW_CIDRS="10.0.0.0/8") as strict:
        delivery = ended(strict, "a", app.url)
        for hours in (0, 1, 100):
            work(strict, hours * 3600)
        tried = ask(strict, "GET", f"/deliveries/{delivery}").json()["tried"]

        assert ("given_up", [None] * 3) == told(strict, delivery)
        assert {"127.0.0.1 was not called: the address is not a public one"} == {one["error"] for one in tried}
    assert [] == app.raw


@pytest.mark.parametrize("subscribed", [False, True])
def test_a_name_that_leads_inside_for_a_moment_loses_nothing(
    home: House, app: Receiver, monkeypatch: pytest.MonkeyPatch, *, subscribed: bool
) -> None:
    """P3: a DNS that is wrong for once costs an attempt, and no subscription: the next attempt is judged anew."""
    honest, wrong = socket.getaddrinfo, [True]

    def look_up(host: str, *how: Any, **more: Any) -> Any:
        if host == "app.example":
            host = "10.0.0.1" if wrong and wrong.pop() else "127.0.0.1"
        return honest(host, *how, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    url = app.url.replace("127.0.0.1", "app.example")
    if subscribed:
        home.services.subscriptions.create("default", url, ["video.failed"], Signing.V1, home.clock())
    delivery = ended(home, "a", "" if subscribed else url)
    work(home)
    first = told(home, delivery)
    work(home, 10)

    assert ("pending", [None]) == first
    assert ("delivered", [None, 200]) == told(home, delivery)
    shown = ask(home, "GET", f"/deliveries/{delivery}").json()
    assert "app.example was not called: the address is not a public one" == shown["tried"][0]["error"]


def test_a_url_that_leads_nowhere_is_given_up_at_once(home: House) -> None:
    """What stands in it can't be mended by trying again."""
    delivery = ended(home, "a", "https://u:p@app.example/")
    work(home)

    assert ("given_up", [None]) == told(home, delivery)


def test_one_a_job_and_a_time_can_be_sent_again(home: House, app: Receiver) -> None:
    """P3: each under its first id, with a schedule of its own; another caller's are none of it."""
    first, second = ended(home, "a", app.url), ended(home, "b", app.url)
    work(home)
    asked = [
        ask(home, "POST", f"/deliveries/{first}/replay"),
        ask(home, "POST", "/jobs/b/replay"),
        ask(home, "POST", "/deliveries/replay", {"since": "2020-01-01T00:00:00Z"}),
        ask(home, "POST", "/deliveries/replay", {"until": "2020-01-01T00:00:00Z"}),
    ]
    work(home)
    came = [headers["webhook-id"] for headers in app.headers]

    assert [(202, 1), (202, 1), (202, 2), (202, 0)] == [(one.status_code, one.json()["replayed"]) for one in asked]
    assert {first: 2, second: 2} == {name: came.count(name) for name in (first, second)}
    other = home.services.keys.create("other", home.clock())
    headers = {"Authorization": f"Bearer {other}"}
    answer = requests.post(f"{home.url}/api/deliveries/{first}/replay", headers=headers, timeout=30)
    assert 404 == answer.status_code


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/deliveries/replay", {}, "since"),
        ("/deliveries/replay", {"since": "yesterday"}, "since"),
        ("/deliveries/replay", {"since": "2026-01-01T00:00:00"}, "since"),
        ("/deliveries/replay", {"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ("/deliveries/replay", {"until": "2026-01-01T00:00:00Z", "state": "eaten"}, "state"),
        ("/deliveries?limit=900", None, "limit"),
        ("/deliveries?before=nothing", None, "before"),
        ("/deliveries?colour=red", None, "colour"),
    ],
)
def test_what_is_asked_wrongly_is_named(home: House, path: str, body: Any, field: str) -> None:
    """Each fault says field, rule and fix."""
    answer = ask(home, "POST" if body is not None else "GET", path, body)

    assert 400 == answer.status_code
    assert [field] == [fault["field"] for fault in answer.json()["errors"]]


def test_pages_lead_on(home: House, app: Receiver) -> None:
    """Every delivery is on one page, newest first."""
    made = [ended(home, f"job{number}", app.url) for number in range(5)]
    seen, before = [], ""
    while before is not None:
        page = ask(home, "GET", f"/deliveries?limit=2{before}").json()
        seen += [row["id"] for row in page["deliveries"]]
        before = page["next"] and "&before=" + page["next"].replace("+", "%2B")

    assert list(reversed(made)) == seen


def test_the_terminal_shows_and_sends_again(home: House, app: Receiver) -> None:
    """`reelhook subscriptions` and `reelhook deliveries` do what the door does."""

    def run(*arguments: str, code: int = 0) -> str:
        done = home.typed(*arguments)
        assert code == done.exit_code, done.output
        return done.output

    made = run("subscriptions", "create", app.url, "--type", "video.failed")
    name, secret = made.split()[1], made.split()[-1]
    assert secret.startswith("whsec_")
    assert "whpk_" in run("subscriptions", "create", app.url, "--type", "job.*", "--signing", "v1a")
    ended(home, "a", app.url, "order-7")
    work(home)
    listed = run("subscriptions", "list") + run("deliveries", "list") + run("deliveries", "list", "--job", "a")
    delivery = next(headers["webhook-id"] for headers in app.headers)

    assert name in listed
    assert delivery in listed
    assert "200" in run("deliveries", "show", delivery)
    assert "1 deliveries" in run("deliveries", "replay", "--delivery", delivery)
    assert delivery in run("deliveries", "list", "--job", "order-7")
    assert "2 deliveries" in run("deliveries", "replay", "--job", "order-7")
    assert "Error: key default has no job order-8\n" == run("deliveries", "list", "--job", "order-8", code=1)
    assert "Error: key other has no job a\n" == run("deliveries", "replay", "--job", "a", "--key", "other", code=1)
    assert "disabled" in run("subscriptions", "disable", name)
    assert "1 kept" in run("subscriptions", "enable", name)
    assert "whsec_" in run("subscriptions", "rotate", name)
    assert "msg_" in run("subscriptions", "test", name)
    assert "deleted" in run("subscriptions", "delete", name)
    assert secret not in listed
    assert "no subscription" in run("subscriptions", "enable", name, code=1)
    assert "not a public one" in run("subscriptions", "create", "https://10.0.0.1/", code=1)
    assert "names no event" in run("subscriptions", "create", app.url, "--type", "x.y", code=1)
    assert "no API key" in run("subscriptions", "create", app.url, "--key", "nobody", code=1)
    assert "say which" in run("deliveries", "replay", code=2)
    assert "no delivery" in run("deliveries", "show", "msg_1", code=1)


def test_a_job_that_fails_is_told_once_to_each(home: House, app: Receiver) -> None:
    """A callback_url and a subscription at one origin are two receivers of one event, each with an id of its own."""
    made = ask(home, "POST", "/subscriptions", {"url": app.url, "types": ["video.failed"]})
    assert 201 == made.status_code
    job = home.submit(prompt="a cat [fate: fail]", callback_url=app.url)

    assert [State.FAILED] == home.until_end(job)
    flat, enveloped = sorted(app.bodies, key=lambda body: "type" in body)
    assert (job, job) == (flat["task_id"], enveloped["data"]["task_id"])
    assert ("failed", "failed") == (flat["reelhook"]["state"], enveloped["data"]["state"])
    assert 2 == len({headers["webhook-id"] for headers in app.headers})
