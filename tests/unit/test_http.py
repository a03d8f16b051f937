import socket
import threading
import time
from contextlib import ExitStack, suppress
from ipaddress import ip_network
from pathlib import Path

import pytest

from infra import dial
from infra.elapsed import elapsed
from infra.guard import Guard
from infra.http import Blocked, Http, NoAnswer, NoPlace, NotSent
from tests.listener import by_looks, reply, server

LOOPBACK = (ip_network("127.0.0.0/8"),)


def test_credentials_stay_with_the_host_they_are_for() -> None:
    """A redirect to another host carries neither Authorization nor a cookie."""
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with server(listen, "127.0.0.2") as other:
        moved = (
            f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:{other}/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
        )
        with (
            server(reply(moved)) as port,
            Http(Guard(LOOPBACK)).stream(
                f"http://127.0.0.1:{port}/", {"Authorization": "Bearer s3cr3t"}, seconds=100
            ) as stream,
        ):
            assert 200 == stream.status

    assert b"s3cr3t" not in heard[0]
    assert b"Cookie" not in heard[0]


def test_nothing_of_the_environment_changes_a_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A proxy would connect where no guard looks, and what stands in a .netrc is not for hosts that others name."""
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cr3t\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with server(listen) as port, server(reply("HTTP/1.1 502 Proxy\r\n\r\n")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        answer = Http(Guard(LOOPBACK)).send("GET", f"http://127.0.0.1:{port}/a", {}, None, seconds=100)

    assert (200, True) == (answer.status, heard[0].startswith(b"GET /a HTTP/1.1\r\n"))
    assert b"authorization" not in heard[0].lower()


def test_a_source_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer bytes a second than asked for, over the time that is looked at, end the fetch long before its limit."""
    by_looks(monkeypatch)
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not stop.wait(0.01):
            try:
                connection.sendall(b"x")
            except OSError:
                return

    with server(drip) as port:
        try:
            with (
                pytest.raises(NoAnswer, match="too slowly"),
                Http().stream(f"http://127.0.0.1:{port}/", {}, seconds=3600, slowest=1000) as stream,
            ):
                list(stream.chunks)
        finally:
            stop.set()


def test_a_guarded_call_to_loopback_connects_to_nothing() -> None:
    """The guard judges before there is a connection: whoever names an inside peer can't learn if somebody listens."""
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(connection.recv(10))
        connection.sendall(b"heard")

    with server(listen) as port:
        with pytest.raises(Blocked):
            Http(Guard()).send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=100)
        with socket.create_connection(("127.0.0.1", port), timeout=100) as ours:
            ours.sendall(b"ours")
            assert ours.recv(10)

    assert [b"ours"] == heard


def test_a_redirect_to_an_inside_address_is_blocked() -> None:
    """Each hop of a redirect is judged anew: an allowed host can't lead to one that isn't."""
    with server(reply("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "::1") as inside:
        moved = f"HTTP/1.1 302 Found\r\nLocation: http://[::1]:{inside}/\r\nContent-Length: 0\r\n\r\n"
        with (
            server(reply(moved)) as port,
            pytest.raises(Blocked),
            Http(Guard(LOOPBACK)).stream(f"http://127.0.0.1:{port}/", {}, seconds=100),
        ):
            pass


def test_a_refused_connection_was_not_sent() -> None:
    """Nobody listens: nothing was sent, and trying again is safe."""
    with server(reply("")) as port:
        pass
    with pytest.raises(NotSent):
        Http().send("POST", f"http://127.0.0.1:{port}/", {}, b"x", seconds=100)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "not http at all\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ],
)
def test_a_broken_answer_leaves_the_outcome_unknown(text: str) -> None:
    """Once a request left, silence and half an answer alike say nothing of what it did."""
    with server(reply(text)) as port, pytest.raises(NoAnswer):
        Http().send("POST", f"http://127.0.0.1:{port}/", {}, b"x", seconds=100)


def test_a_slow_answer_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit bounds the whole call, not each read: a byte now and then does not keep it alive."""
    by_looks(monkeypatch)
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not stop.wait(0.01):
            try:
                connection.sendall(b"1\r\nx\r\n")
            except OSError:
                return

    with server(drip) as port:
        try:
            with pytest.raises(NoAnswer):
                Http().send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=30)
        finally:
            stop.set()


def test_an_endless_answer_ends_at_the_limit() -> None:
    """No more of an answer is kept than the caller allowed."""
    with (
        server(reply("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + "x" * 5000)) as port,
        pytest.raises(NoAnswer, match="longer than 100 bytes"),
    ):
        Http().send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=100, limit=100)


@pytest.mark.parametrize("url", ["", "ftp://h/x", "http://", "http://[", "http://h:x/", "/path", "https://u:p@h/"])
def test_what_is_no_plain_url_leads_nowhere(url: str) -> None:
    """A guarded call takes absolute http(s) URLs without credentials, nothing else; nothing mends another one."""
    with pytest.raises(NoPlace):
        Http(Guard(LOOPBACK)).send("GET", url, {}, None, seconds=100)


def test_no_error_repeats_a_query_string() -> None:
    """A signed link's query is a secret; errors name the host only."""
    with server(reply("")) as port, pytest.raises(NoAnswer) as caught:
        Http().send("GET", f"http://127.0.0.1:{port}/x?X-Amz-Signature=s3cr3t", {}, None, seconds=100)

    assert "s3cr3t" not in str(caught.value)


def drip(connection: socket.socket) -> None:
    """Headers without an end, a byte now and then."""
    connection.recv(65536)
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            connection.sendall(b"x")
            time.sleep(0.01)
    except OSError:
        return


@pytest.mark.parametrize("guard", [None, Guard(LOOPBACK)], ids=["trusted", "guarded"])
def test_headers_that_drip_are_hung_up_on(monkeypatch: pytest.MonkeyPatch, guard: Guard | None) -> None:
    """A peer that sends a byte of its headers now and then, for ever, holds nobody beyond the deadline."""
    by_looks(monkeypatch)
    with server(drip) as port, pytest.raises(NoAnswer):
        Http(guard).send("POST", f"http://127.0.0.1:{port}/", {}, b"x", seconds=30)


def test_a_fetch_waits_no_longer_for_headers_than_for_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may take an hour to come; headers that drip are given up after the time that a body may be silent."""
    clock = by_looks(monkeypatch)
    with (
        server(drip) as port,
        pytest.raises(NoAnswer),
        Http(Guard(LOOPBACK)).stream(f"http://127.0.0.1:{port}/", {}, seconds=3600, slowest=1),
    ):
        pass

    assert clock() < 2 * dial._SILENCE_SECONDS


def test_what_drips_between_pieces_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a chunk says of itself is no byte of the body: to drip that for ever is to send nothing."""
    clock = by_looks(monkeypatch)

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n5;")
            while True:
                connection.sendall(b"x")
                time.sleep(0.01)

    with (
        server(answer) as port,
        Http(Guard(LOOPBACK)).stream(f"http://127.0.0.1:{port}/", {}, seconds=3600, slowest=1) as stream,
    ):
        assert b"ok" == next(stream.chunks)
        with pytest.raises(NoAnswer):
            next(stream.chunks)

    assert clock() < 3 * dial._SILENCE_SECONDS


def test_a_body_has_its_time_from_when_it_begins() -> None:
    """How long the headers took does not make a quick body a slow one; one that is slow later is given up."""
    now = [0.0]
    pace = dial.Pace(3600, 100, lambda: now[0])

    now[0] = 29
    pace.body()
    seen = []
    for now[0] in (40, 60, 91):
        seen.append(pace.fault(1500))

    assert [None, None, "sends its answer too slowly"] == seen


def test_all_addresses_of_a_name_share_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may have a thousand addresses where nobody answers: that takes no longer than the call may."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(8):  # nobody takes them, so sooner or later there is no more room
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        found = socket.getaddrinfo("127.0.0.1", full.getsockname()[1], type=socket.SOCK_STREAM)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found * 2000)
        monkeypatch.setattr(dial, "_CONNECT_SECONDS", 0.15)
        with pytest.raises(NotSent):
            Http().send("POST", "http://many.example/", {}, b"x", seconds=0.4)


def test_what_may_not_leave_any_more_does_not() -> None:
    """The last word is had when the connection stands, before the first byte: no byte comes, and it is not sent."""
    heard: list[bytes] = []
    connected, over = threading.Event(), threading.Event()

    def listen(connection: socket.socket) -> None:
        connected.set()
        heard.append(connection.recv(65536))
        over.set()

    with server(listen) as port:
        with pytest.raises(NotSent):
            Http().send("POST", f"http://127.0.0.1:{port}/", {}, b"{}", seconds=60, may=lambda: not connected.wait(60))
        assert over.wait(60)

    assert [b""] == heard


def test_nobody_is_asked_whether_it_may_leave_who_can_not_be_reached() -> None:
    """First the connection, TLS and all: what was asked before would be old by then."""
    with server(lambda _: None) as port, pytest.raises(NotSent):
        Http().send("POST", f"https://127.0.0.1:{port}/", {}, b"{}", seconds=100, may=lambda: 1 / 0 > 0)


def test_time_goes_on_while_the_machine_sleeps() -> None:
    """Where there is a clock that counts its sleep it is that one, and calls end by it."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    before = time.clock_gettime(clock)

    assert before <= elapsed() <= time.clock_gettime(clock)
