"""Callbacks on the server that production runs: slow and many senders, a database in trouble."""

from __future__ import annotations

import json
import select as polling
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from sqlalchemy import Engine, select, text

from infra.emulator import Config, Emulator
from infra.stack.process import wait_until
from infra.stack.servers import Servers
from tests.house import TEXT, House, house
from tests.integration.receiver_kit import BODY, SECRET, call, connected, head, kept, last, made
from tests.proxy import FaultProxy, When
from webhook import callbacks as receiving
from webhook import patience
from worker import messages
from worker.jobs.tokens import callback_token
from worker.store.tables import callbacks

_END_OTHERS = (
    "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
    "where datname = current_database() and pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """A Kling that nobody asks here."""
    with Emulator(Config(log=False)) as running:
        yield running


@pytest.fixture
def proxy(servers: Servers) -> Iterator[FaultProxy]:
    """A way to the database that can fail."""
    with FaultProxy("127.0.0.1", servers.postgres.port) as between:
        yield between


@pytest.fixture(autouse=True)
def patient_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that is held up for a while is no slow sender."""
    monkeypatch.setattr(patience, "HEAD_SECONDS", 600)
    monkeypatch.setattr(receiving, "_BODY_SECONDS", 600)


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator, proxy: FaultProxy, settings: Any) -> Iterator[House]:
    """A house whose callbacks reach the database through the proxy."""
    database = settings.database_url.replace(f":{servers.postgres.port}/", f":{proxy.port}/")
    with house(servers.addresses, engine, emulator, DATABASE_URL=database, SECRET_KEY=SECRET) as opened:
        yield opened


def test_a_line_names_the_request_as_its_router_does(
    home: House, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A callback's line, taken or refused, has the X-Request-ID; what is no name there is left out."""
    for path in (made(engine), "/callbacks/kling/a/forged"):
        for name in ("router-1", "}{"):
            requests.post(home.url + path, data=BODY, headers={"X-Request-ID": name}, timeout=30)
    # A line follows its answer, and no other request is looked at between them: once this one is answered all are said.
    requests.get(f"{home.url}/healthz", timeout=30)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    named = [(line["answer"], line.get("request")) for line in lines if line["event"] == "callback"]
    assert [(204, "router-1"), (204, None), (404, "router-1"), (404, None)] == named


# --- senders --------------------------------------------------------------------------------------------------------
def test_a_hundred_equal_callbacks_at_once(home: House, engine: Engine) -> None:
    """P5: each is answered 204, one row stands, and its job is named to the workers once."""
    path = made(engine)
    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda _: call(home.url, path).status_code, range(100)))

    assert [204] * 100 == answers
    with engine.connect() as connection:
        assert [99] == list(connection.execute(select(callbacks.c.repeats)).scalars())
    assert 1 == len(home.queue.sent)


def test_slow_senders_stop_nobody(home: House, engine: Engine) -> None:
    """P5: hundreds that send half a head, half a body or nothing hold no thread: others are served as ever."""
    path = made(engine)
    halves = [b"", b"POST /callbacks/kl", head(path), head("/v1/videos/omni-video"), head(path) + BODY[:5]]
    with ExitStack() as stack:
        for number in range(400):
            stack.enter_context(connected(home.url, halves[number % len(halves)]))
        answers = [call(home.url, path, BODY + b" " * number).status_code for number in range(20)]
        healthy = requests.get(f"{home.url}/healthz", timeout=30).status_code

    assert ([204] * 20, 200) == (answers, healthy)
    assert 20 == kept(engine)


def test_nobody_may_be_slow_for_ever(home: House, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that does not come, or never ends, costs the connection; a body that does not come is answered 408."""
    monkeypatch.setattr(receiving, "_BODY_SECONDS", 0.3)
    path, port = made(engine), urlsplit(home.url).port
    said = (head(path) + BODY[:5], b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000)
    with ExitStack() as stack:
        late, endless = (stack.enter_context(connected(home.url, one)) for one in said)
        half = HTTPConnection("127.0.0.1", port, timeout=30)
        stack.callback(half.close)
        half.request("GET", "/healthz")
        half.getresponse().read()
        # From here on: before, whoever is held up between a connection and its first byte would be late, too.
        monkeypatch.setattr(patience, "HEAD_SECONDS", 0.3)
        silent = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        half.sock.sendall(b"POST /")

        assert [b"", b""] == [last(silent), last(half.sock)]
        assert b"HTTP/1.1 408" == last(late)[:12]
        assert b"" == last(endless)
    assert 0 == kept(engine)


def test_who_says_no_more_is_answered(home: House, engine: Engine) -> None:
    """P5: a sender may close its half of the connection behind its request; behind half a request it is dropped."""
    path = made(engine)
    with connected(home.url, head(path) + BODY) as whole, connected(home.url, head(path) + BODY[:5]) as half:
        for sock in (whole, half):
            sock.shutdown(socket.SHUT_WR)
        said = last(whole), last(half)

    assert (b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n", b"") == said
    assert 1 == kept(engine)


def test_an_answer_waits_for_nobody_for_ever(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """P7: who asks for much and takes nothing of it loses the connection, and what it would have been told."""
    monkeypatch.setattr(patience, "TAKE_SECONDS", 0.3)
    size = len(requests.get(f"{home.url}/openapi.json", timeout=30).content)
    with connected(home.url, b"GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n" * 40) as sock:
        assert wait_until(lambda: _is_cut(sock), 30)
        assert len(last(sock)) < 40 * size


def _is_cut(sock: socket.socket) -> bool:
    """Whether the other side has let go: to say more is answered with a reset then."""
    try:
        sock.send(b"\r\n")
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("start", ["POST /callbacks/kling/a/nonsense", "PUT /callbacks/kling/a/{token}"])
def test_who_is_turned_away_may_not_go_on_sending(home: House, start: str) -> None:
    """An answer that does not wait for the body ends the connection: a sender without any token holds no socket."""
    start = start.format(token=callback_token(SECRET.encode(), "a"))
    with connected(home.url, head("").replace(b"POST ", start.encode(), 1)) as sock:
        said = last(sock)

    assert b"HTTP/1.1 4" == said[:10]
    assert b"\r\nconnection: close\r\n" in said


def test_a_body_without_end_is_cut(home: House, engine: Engine) -> None:
    """413 as soon as it is too long, and the end of the connection, though it says neither length nor end."""
    path = made(engine)
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with connected(
        home.url, head(path).replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked")
    ) as sock:
        answer = b""
        while not answer:
            with suppress(ConnectionError):  # reset, for it sends on: the answer lies before that
                sock.sendall(chunk)
            if polling.select([sock], [], [], 0)[0]:
                answer = sock.recv(65536)

    assert b"HTTP/1.1 413" == answer[:12]
    assert 0 == kept(engine)


@pytest.mark.parametrize("word", ["a\\u0000b", "\\ud800", "x" * 5000])
def test_a_strange_status_is_kept_readable(home: House, engine: Engine, word: str) -> None:
    """JSON may hold what a column of text may not: the body is stored as it came, the word of its status is not."""
    body = b'{"task_id": "1", "task_status": "%s"}' % word.encode()

    assert 204 == call(home.url, made(engine), body).status_code
    with engine.connect() as connection:
        row = connection.execute(select(callbacks.c.status, callbacks.c.body)).one()
    assert ("(unreadable)", body) == (row.status, bytes(row.body))


# --- the database ---------------------------------------------------------------------------------------------------
def test_without_a_database_the_sender_is_asked_to_come_again(home: House, engine: Engine, proxy: FaultProxy) -> None:
    """P5: 503 with Retry-After while nothing can be stored; as soon as it can it is, and nothing was restarted."""
    path = made(engine)
    proxy.refuse()
    refused = call(home.url, path)
    proxy.heal()

    assert (503, "5") == (refused.status_code, refused.headers["Retry-After"])
    assert 0 == kept(engine)
    assert 204 == call(home.url, path).status_code
    assert 1 == kept(engine)


def test_who_holds_a_job_s_row_holds_up_no_callback(home: House, engine: Engine) -> None:
    """P5: callbacks for it and for others are in the database at once; and P1: the next sweep sees what came."""
    paths = [made(engine, name) for name in ("held", "free")]
    home.queue.sent.clear()
    with engine.begin() as connection:
        connection.execute(text("update jobs set due_at = due_at + interval '99 years'"))
    with engine.begin() as holder:
        holder.execute(text("select 1 from jobs where id = 'held' for update"))
        with ThreadPoolExecutor(20) as pool:
            answers = pool.map(lambda n: call(home.url, paths[n % 2], BODY + b" " * n).status_code, range(40))
        assert [204] * 40 == list(answers)
    assert 40 == kept(engine)
    home.queue.sent.clear()
    home.sweep()

    # So many callbacks at once have a sweep sent for them, too, a quarter of a second later: perhaps only now.
    assert {("held",), ("free",)} == {args for task, _, args in home.queue.sent if task != messages.SWEEP}


def test_who_has_the_whole_table_of_jobs_holds_up_no_callback(home: House, engine: Engine) -> None:
    """P5: somebody changes the table: callbacks are in the database all the same; and P1: a later sweep hears them."""
    paths = [made(engine, name) for name in ("one", "two")]
    with engine.begin() as connection:
        connection.execute(text("update jobs set due_at = due_at + interval '99 years'"))
    with engine.begin() as holder:
        holder.execute(text("lock table jobs in access exclusive mode"))
        with ThreadPoolExecutor(20) as pool:
            answers = pool.map(lambda n: call(home.url, paths[n % 2], BODY + b" " * (n // 4)).status_code, range(40))
            assert [204] * 40 == list(answers)
        nobody = f"/callbacks/kling/nobody/{callback_token(SECRET.encode(), 'nobody')}"
        assert 204 == call(home.url, nobody).status_code, "nobody can say now that there is no such job"
        with engine.connect() as other:
            repeats = other.execute(select(callbacks.c.repeats)).scalars()
            assert [0] + [1] * 20 == sorted(repeats)
    home.queue.sent.clear()
    home.sweep()

    # As above: more than a few new ones at once have a sweep sent for them, perhaps only now.
    assert {("one",), ("two",)} == {args for task, _, args in home.queue.sent if task != messages.SWEEP}
    assert 20 == kept(engine), "what was kept for no job is gone"


@contextmanager
def read_only(engine: Engine) -> Iterator[None]:
    """The database takes no writes of sessions that begin now: as the old one after a fail-over."""
    with engine.connect() as connection:
        name = connection.execute(text("select current_database()")).scalar_one()
        connection.commit()
        change = f"alter database {name} {{}} default_transaction_read_only"
        connection.execute(text(change.format("set") + " = on"))
        connection.commit()
        connection.execute(text(_END_OTHERS))
        connection.commit()
        try:
            yield
        finally:
            connection.execute(text("set transaction read write"))
            connection.execute(text(change.format("reset")))
            connection.commit()


def test_a_database_that_takes_no_writes_is_away(home: House, engine: Engine) -> None:
    """P5: as without one, 503 with Retry-After, and the way to the new one is looked for: nothing is restarted."""
    path = made(engine)
    with read_only(engine):
        answers = [call(home.url, path), home.post(TEXT)]
        assert [(503, "5")] * 2 == [(one.status_code, one.headers.get("Retry-After")) for one in answers]

    assert [204, 200] == [call(home.url, path).status_code, home.post(TEXT).status_code]
    assert 1 == kept(engine)


def test_an_ended_connection_costs_no_callback(home: House, engine: Engine) -> None:
    """P5: the server's farewell is seen before the next write leaves."""
    path = made(engine)
    for number in range(5):
        assert 204 == call(home.url, path, BODY + b" " * number).status_code
        with engine.connect() as connection:
            ours = (
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'reelhook-web'"
            )
            assert connection.execute(text(ours)).scalars().all()

    assert 5 == kept(engine)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_that_breaks_over_callbacks_costs_none(
    home: House, engine: Engine, proxy: FaultProxy, when: When
) -> None:
    """P5: the database is there, and the callback is written on a new connection, had it arrived before or not."""
    path, cuts = made(engine), [True]
    home.queue.sent.clear()
    with engine.begin() as connection:
        connection.execute(text("update jobs set due_at = due_at + interval '99 years'"))
    proxy.on(b"insert into callbacks", lambda _: bool(cuts and cuts.pop()), when=when)
    answer = call(home.url, path).status_code
    proxy.off()

    assert (204, []) == (answer, cuts)
    assert 1 == kept(engine)
    home.sweep()
    assert {("a",)} == {args for _, _, args in home.queue.sent}, "its job is due"
