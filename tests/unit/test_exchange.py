"""What a request looks like, and what an answer says, however its bytes come."""

from __future__ import annotations

import gzip
import socket
import threading
import zlib
from collections.abc import Callable
from http.client import HTTPResponse

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infra.exchange import Broken, Reply, send, written


class Pieces:
    """A socket out of which these pieces come, and then its end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def settimeout(self, _seconds: float) -> None:
        """It never waits."""

    def recv(self, _size: int) -> bytes:
        """The next one."""
        return self._pieces.pop(0) if self._pieces else b""


def read(pieces: list[bytes], *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer that comes in `pieces`."""
    sock: socket.socket = Pieces(pieces)  # type: ignore[assignment]  # all of one that is used
    reply = Reply(sock, lambda: 1.0, bodiless=bodiless)
    return reply.status, dict(reply.headers), b"".join(iter(reply.piece, b""))


def cut(text: bytes, places: list[int]) -> list[bytes]:
    """`text`, cut at these places."""
    ends = sorted({place % (len(text) + 1) for place in places} | {len(text)})
    return [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def framed(body: bytes, frame: str, size: int) -> bytes:
    """An answer that says how long `body` is, or sends it in chunks of `size`, or hangs up after it."""
    if frame == "length":
        return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    if frame == "end":
        return b"\r\n" + body
    chunks = b"".join(
        b"%x;x=y\r\n%b\r\n" % (len(p), p) for p in (body[n : n + size] for n in range(0, len(body), size))
    )
    return b"Transfer-Encoding: chunked\r\n\r\n%b0\r\nX-Trailer: t\r\n\r\n" % chunks


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda body: body,
    "gzip": gzip.compress,
    "x-gzip": lambda body: b"".join(gzip.compress(body[n : n + 50]) for n in range(0, max(len(body), 1), 50)),
    "deflate": zlib.compress,
    "Deflate": lambda body: zlib.compress(body, wbits=-15),
    "own": lambda body: body,
}


@given(
    st.binary(max_size=400), st.sampled_from(["length", "chunks", "end"]), st.sampled_from(list(PACKED)),
    st.booleans(), st.lists(st.integers(0, 2000), max_size=8), st.integers(1, 100),
)  # fmt: skip
def test_an_answer_is_the_same_however_it_comes(
    body: bytes,
    frame: str,
    packed: str,
    early: bool,  # noqa: FBT001 - Hypothesis hands it over
    places: list[int],
    size: int,
) -> None:
    """Status, headers and body are what was meant, wherever the bytes are cut, framed and packed in any way."""
    head = b"HTTP/1.1 100 Continue\r\nX-Early: x\r\n\r\n" if early else b""
    head += b"HTTP/1.1 203 Fine\r\nX-One: a\r\nx-one: \xe9\r\n"
    head += f"Content-Encoding: {packed}\r\n".encode() if packed else b""
    text = head + framed(PACKED[packed](body), frame, size)

    status, headers, came = read(cut(text, places))

    assert (203, "a, \u00e9", body) == (status, headers["X-One"], came)
    assert "X-Early" not in headers


@pytest.mark.parametrize("length", [0, 2, 99])
@pytest.mark.parametrize("first", ["Content-Length", "Transfer-Encoding"])
def test_chunks_go_before_a_length(length: int, first: str) -> None:
    """As in browsers: a server that says both, and pads the sizes of its chunks, is heard, and its length is not."""
    said = {"Content-Length": str(length), "Transfer-Encoding": "chunked"}
    order = sorted(said, key=lambda name: name != first)
    head = "".join(f"{name}: {said[name]}\r\n" for name in order)
    text = f"HTTP/1.1 200 OK\r\n{head}\r\n2  \r\nhi\r\n0  \r\n\r\n".encode()

    assert (200, {"Transfer-Encoding": "chunked"}, b"hi") == read([text])


@given(
    st.sampled_from(["Content-Length: 5\r\ncontent-length:5", "Content-Length: 5, 5", "Content-Length: 5,5 ,\t5",
                     "Content-Length: 5\r\nA: b\r\nCONTENT-LENGTH : 5",
                     "A: b\nContent-Length: 5\nContent-Length: 5, 5"]),
    st.sampled_from(["", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"]),
    st.lists(st.integers(0, 200)),
)  # fmt: skip
def test_a_length_that_is_said_twice_is_one(said: str, early: str, places: list[int]) -> None:
    """However its bytes come; the other headers and the body are as they were sent. Source: RFC 9110, 8.6."""
    text = f"{early}HTTP/1.1 200 OK\r\nX-One: a\r\n{said}\r\nX-Two: b\r\n\r\nhello".encode()

    for more in (b"", b"content-length: 5\r\n\r\n"):
        status, headers, body = read(cut(text + more, places))
        assert (200, "5", "a", "b", b"hello") == (
            status, headers["Content-Length"], headers["X-One"], headers["X-Two"], body
        )  # fmt: skip


@pytest.mark.parametrize(
    "said", ["5, 6", "5\r\nContent-Length: 6", "5,", "x, x", "5\r\nContent-Length: x", "x", "-5, -5", "5 5"]
)
def test_lengths_that_differ_are_none(said: str) -> None:
    """Nobody can say where such an answer ends."""
    text = f"HTTP/1.1 200 OK\r\nContent-Length: {said}\r\n\r\nhello".encode()

    for pieces in ([text], [text[n : n + 1] for n in range(len(text))]):
        with pytest.raises(Broken):
            read(pieces)


def test_no_header_holds_what_no_row_can() -> None:
    """A NUL in a value is a space: what a server says of a file is kept, and a database takes no such byte."""
    text = b'HTTP/1.1 200 OK\r\nETag: "a\0b"\r\nContent-Length: 0\r\n\r\n'

    assert '"a b"' == read([text])[1]["ETag"]


@given(st.binary(min_size=1, max_size=100), st.sampled_from(["length", "chunks"]), st.integers(1, 10**6))
def test_an_answer_that_breaks_off_is_none(body: bytes, frame: str, at: int) -> None:
    """Where an answer says how long it is, no part of it passes for all of it."""
    text = b"HTTP/1.1 200 OK\r\n" + framed(body, frame, 7)

    with pytest.raises(Broken):
        read([text[: at % len(text)]])


@given(
    st.binary(min_size=1, max_size=100),
    st.sampled_from(["gzip", "x-gzip", "deflate", "Deflate"]),
    st.integers(1, 10**6),
)
def test_what_was_packed_and_cut_is_none(body: bytes, packed: str, at: int) -> None:
    """Also where the cut length is said, or none: a packing says itself where it ends."""
    whole = PACKED[packed](body)
    for frame in ("length", "chunks", "end"):
        text = f"HTTP/1.1 200 OK\r\nContent-Encoding: {packed}\r\n".encode() + framed(
            whole[: at % (len(whole) - 1) + 1], frame, 7
        )
        with pytest.raises((Broken, zlib.error)):
            read([text])


@given(st.binary(max_size=200))
def test_what_follows_an_answer_is_nobody_s(more: bytes) -> None:
    """Bytes behind an answer change nothing."""
    assert b"hi" == read([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" + more])[2]


@pytest.mark.parametrize("status", [200, 204, 304])
def test_an_answer_without_a_body_waits_for_none(status: int) -> None:
    """The answer to a HEAD, and one whose status says so, ends with its head, whatever length it names."""
    text = f"HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n".encode()

    assert (status, b"") == read([text], bodiless=status == 200)[::2]


@given(st.binary(max_size=60), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200\nContent-Length: 1\n\n"]))
def test_whatever_comes_is_an_answer_or_broken(text: bytes, head: bytes) -> None:
    """For all bytes there is an answer, `Broken`, or what zlib raises; and none for what `http.client` refuses."""
    try:
        status = read([head + text])[0]
    except (Broken, zlib.error):
        return
    assert 200 <= status


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,9}", fullmatch=True)


@given(st.integers(200, 599), st.dictionaries(NAMES, st.text("ab c\u00e9", max_size=9), max_size=5))
def test_heads_are_read_as_the_standard_library_reads_them(status: int, headers: dict[str, str]) -> None:
    """Of any plain head both readers say the same."""
    assume(not {name.lower() for name in headers} & {"content-length", "transfer-encoding", "connection", "upgrade"})
    assume(len({name.lower() for name in headers}) == len(headers))
    text = (
        f"HTTP/1.1 {status} OK\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "Content-Length: 0\r\n\r\n"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(text.encode("latin-1"))
        other = HTTPResponse(ours)
        other.begin()

    assert (other.status, dict(other.headers)) == read([text.encode("latin-1")])[:2]
    other.close()


def test_a_head_has_an_end() -> None:
    """Headers without end are given up after 256 KiB."""
    line = b"X: " + b"y" * 1000 + b"\r\n"
    with pytest.raises(Broken, match="too long a head"):
        read([b"HTTP/1.1 200 OK\r\n", *[line] * 1000])


@pytest.mark.parametrize(
    "begins", [b"1\r\na\r\n0\r\nX: ", b"1\r\na\r\n0\r\n", b"1;x="], ids=["value", "name", "extension"]
)
def test_what_follows_a_body_has_an_end(begins: bytes) -> None:
    """So have the lines behind a body in chunks, and what a chunk says of itself."""
    with pytest.raises(Broken, match="too much that is no body"):
        read([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + begins, *[b"a" * 10_000] * 30])


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [
        ("GET", None, b"GET /a?b HTTP/1.1\r\nHost: h:1\r\nA: b\r\n\r\n"),
        ("POST", None, b"POST /a?b HTTP/1.1\r\nHost: h:1\r\nContent-Length: 0\r\nA: b\r\n\r\n"),
        ("POST", b"xyz", b"POST /a?b HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\nA: b\r\n\r\n"),
    ],
)
def test_a_request_says_how_long_it_is(method: str, body: bytes | None, expected: bytes) -> None:
    """The head of a request, with the length of its body where it may have one."""
    assert expected == written(method, "/a?b", "h:1", {"A": "b"}, body)


@given(st.text(max_size=20), st.sampled_from(["method", "target", "host", "name", "value"]))
def test_a_request_is_one_request(text: str, place: str) -> None:
    """Whatever stands in any place of a head, it is one head of these lines, or none."""
    said = {"method": "GET", "target": "/", "host": "h", "name": "A", "value": "b"} | {place: text}
    try:
        head = written(said["method"], said["target"], said["host"], {said["name"]: said["value"]}, None)
    except ValueError:
        return

    lines = head.decode("latin-1").split("\r\n")
    assert [f"{said['method']} {said['target']} HTTP/1.1", f"Host: {said['host']}", "", ""] == [*lines[:2], *lines[-2:]]
    assert f"{said['name']}: {said['value']}" in lines
    assert "\n" not in head.decode("latin-1").replace("\r\n", "")


def test_a_long_body_leaves_whole() -> None:
    """Head and body arrive in order, whatever their length."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        came = bytearray()

        def take() -> None:
            while piece := theirs.recv(65536):
                came.extend(piece)

        thread = threading.Thread(target=take)
        thread.start()
        send(ours, b"head", b"x" * 2**20)
        ours.shutdown(socket.SHUT_WR)
        thread.join()

    assert b"head" + b"x" * 2**20 == came
