"""What a call says on the wire, and what it makes of any answer."""

from __future__ import annotations

import gzip
import re
import socket
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import dial
from infra.guard import Guard
from infra.http import Answer, Blocked, Http, NoAnswer, NotSent
from tests.listener import reply, server

LOOPBACK = (ip_network("127.0.0.0/8"),)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_each_call_has_a_connection_of_its_own() -> None:
    """A connection that was kept may be dead, and then nobody can say whether a create was sent: none is kept."""
    heard: list[int] = []

    def listen(connection: socket.socket) -> None:
        connection.settimeout(100)
        while connection.recv(65536):
            heard.append(connection.getpeername()[1])
            connection.sendall(OK)

    with server(listen) as port:
        for _ in range(3):
            assert b"ok" == Http().send("POST", f"http://127.0.0.1:{port}/", {}, b"x", seconds=100).body

    assert 3 == len(set(heard))


def test_a_long_body_may_take_as_long_as_the_call() -> None:
    """The short limit is that of connecting: a create of many megabytes is not cut off by it."""
    body = b"x" * 2**24

    def slow(connection: socket.socket) -> None:
        time.sleep(0.4)
        left = len(body)
        while left > 0 and (piece := connection.recv(2**20)):
            left -= len(piece)
        connection.sendall(OK)

    with server(slow) as port, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dial, "_CONNECT_SECONDS", 0.2)
        assert 200 == Http().send("POST", f"http://127.0.0.1:{port}/", {}, body, seconds=100).status


def test_who_refuses_a_body_half_way_is_heard() -> None:
    """An answer that comes before all of a body has left is an answer, though the other side has hung up."""

    def refuse(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(2**20):
            pass

    with server(refuse) as port:
        assert 413 == Http().send("POST", f"http://127.0.0.1:{port}/", {}, b"x" * 2**22, seconds=100).status


def test_a_packed_answer_is_unpacked() -> None:
    """Answers may come packed, and are handed out as what they mean."""
    body = gzip.compress(b"hello")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"

    def pack(connection: socket.socket) -> None:
        assert b"Accept-Encoding: gzip" in connection.recv(65536)
        connection.sendall(head.encode() + body)

    with server(pack) as port:
        assert b"hello" == Http().send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=100).body


@pytest.mark.parametrize(
    ("location", "heard"),
    [
        ("/moved?a=b", "GET /moved?a=b "),
        ("there", "GET /a/there "),
        ("/caf\u00e9 au lait#top", "GET /caf%C3%A9%20au%20lait "),
    ],
)
def test_a_redirect_leads_where_it_says(location: str, heard: str) -> None:
    """A Location may be relative, and in letters that a request line can't hold; the range goes with it."""
    requests: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        requests.append(connection.recv(65536))
        moved = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        connection.sendall(OK if len(requests) > 1 else moved)

    with (
        server(answer) as port,
        Http(Guard(LOOPBACK)).stream(f"http://127.0.0.1:{port}/a/b", {"Range": "bytes=5-"}, seconds=100) as stream,
    ):
        assert b"ok" == b"".join(stream.chunks)

    assert requests[1].startswith(heard.encode())
    assert b"Range: bytes=5-" in requests[1]


def test_a_circle_of_redirects_is_left() -> None:
    """Who is sent on and on gives up, for good."""
    moved = "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    with server(reply(moved)) as port, pytest.raises(Blocked, match="more than 3 redirects"):
        Http(Guard(LOOPBACK)).stream(f"http://127.0.0.1:{port}/", {}, seconds=100).__enter__()


@pytest.mark.parametrize("header", ["a\r\nX-Other: b", "\u2603"])
def test_a_header_that_can_t_be_sent_is_not(header: str) -> None:
    """Nothing leaves of a request whose header would be two, and no error repeats it."""
    heard: list[bytes] = []
    with (
        server(lambda connection: heard.append(connection.recv(10))) as port,
        pytest.raises(NotSent) as caught,
    ):
        Http().send("POST", f"http://127.0.0.1:{port}/", {"X-Key": header}, b"x", seconds=100)

    assert header not in str(caught.value)
    assert b"" == b"".join(heard)


@pytest.fixture(scope="module")
def said() -> Iterator[tuple[list[bytes], int]]:
    """What a server answers next, and its port."""
    texts: list[bytes] = []

    def say(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(texts[-1])

    with server(say) as port:
        yield texts, port


@given(st.binary(max_size=100), st.sampled_from(["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nX: y\r\n\r\n"]))
def test_whatever_is_answered_is_an_answer_or_none(said: tuple[list[bytes], int], text: bytes, head: str) -> None:
    """For all bytes that a server may say there is an `Answer` or `NoAnswer`, and nothing else."""
    texts, port = said
    texts.append(head.encode() + text)
    with suppress(NoAnswer):
        assert isinstance(Http().send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=100), Answer)


#: What an answer may say that its body is packed with; some of it none of us can unpack.
PACKINGS = ["gzip", "x-gzip", "deflate", "gzip, deflate", "br", "zstd", "identity", ", ".join(["gzip"] * 9)]


@given(
    packing=st.sampled_from(PACKINGS), body=st.binary(max_size=200), cut=st.integers(0, 30),
    tail=st.binary(max_size=9), status=st.sampled_from(["200 OK", "302 Found\r\nLocation: /"]),
)  # fmt: skip
def test_whatever_is_packed_badly_is_an_answer_or_none(
    said: tuple[list[bytes], int], packing: str, body: bytes, cut: int, tail: bytes, status: str
) -> None:
    """However an answer's packing was cut or damaged there is an `Answer` or `NoAnswer`, followed or not."""
    texts, port = said
    packed = gzip.compress(body) if "gzip" in packing else zlib.compress(body)
    packed = packed[: len(packed) - cut] + tail
    texts.append(f"HTTP/1.1 {status}\r\nContent-Encoding: {packing}\r\n\r\n".encode() + packed)
    with suppress(NoAnswer):
        assert isinstance(Http().send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=100), Answer)
    with suppress(NoAnswer, Blocked), Http().stream(f"http://127.0.0.1:{port}/", {}, seconds=100) as stream:
        assert 200 == stream.status
        assert isinstance(b"".join(stream.chunks), bytes)


#: Places that are none, each in its own way, and bytes that are no text.
NOWHERE = [
    b"http://[", b"//[::1", b"http://exa\xe2\x84\x80mple.example/", b"http://h:99999/", b"http://h:x/", b"http://..a/",
    b"http://" + b"a" * 300, b"http://%zz/", b"http://u:p@127.0.0.1/", b"ftp://h/", b"javascript:1", b"http://\xff/",
]  # fmt: skip


@given(
    st.sampled_from(NOWHERE)
    | st.binary(min_size=1, max_size=40).filter(lambda text: not re.search(rb"[\r\n]|//", text))
)
def test_wherever_a_redirect_leads_there_is_an_answer_or_none(said: tuple[list[bytes], int], location: bytes) -> None:
    """For all places that a server may redirect to there is an error of ours, also where it names none."""
    texts, port = said
    texts.append(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n")
    with (
        suppress(NoAnswer, NotSent),
        Http(Guard(LOOPBACK)).stream(f"http://127.0.0.1:{port}/", {}, seconds=100) as stream,
    ):
        assert not location.strip()
        assert 302 == stream.status


def test_the_body_of_a_redirect_is_left_where_it_is() -> None:
    """Who is sent on hangs up without having read what else was said, packed or not: it may be a bomb."""
    taken: list[int] = []

    def answer(connection: socket.socket) -> None:
        if b"GET /bomb" not in connection.recv(65536):
            connection.sendall(OK)
            return
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Encoding: gzip\r\n\r\n")
        with suppress(OSError):
            while sum(taken) < 2**28:
                taken.append(connection.send(bytes(2**18)))

    with server(answer) as port:
        with Http(Guard(LOOPBACK)).stream(f"http://127.0.0.1:{port}/bomb", {}, seconds=100) as stream:
            assert b"ok" == b"".join(stream.chunks)
        moved = Http().send("GET", f"http://127.0.0.1:{port}/bomb", {}, None, seconds=100, limit=9, cut=True)

    assert 302 == moved.status
    assert sum(taken) < 2**27


def test_a_packed_bomb_is_not_unpacked() -> None:
    """However much a few packed bytes unpack to, no more of it is in memory than was asked for and one piece."""
    body = gzip.compress(bytes(2**26), 1)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    def pack(connection: socket.socket) -> None:
        connection.recv(65536)
        with suppress(OSError):
            connection.sendall(head + body)

    with server(pack) as port:
        tracemalloc.start()
        try:
            answer = Http().send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=100, limit=1024, cut=True)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert bytes(1024) == answer.body
    assert peak < 2**23
