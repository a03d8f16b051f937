"""What a call says on the wire, and what it makes of any answer."""

from __future__ import annotations

import datetime as dt
import gzip
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from infra import dial
from infra.http import Answer, Blocked, Guard, Http, NoAnswer, NotSent
from tests.listener import reply, server

LOOPBACK = (ip_network("127.0.0.0/8"),)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_each_call_has_a_connection_of_its_own() -> None:
    """A connection that was kept may be dead, and then nobody can say whether a create was sent: none is kept."""
    heard: list[int] = []

    def listen(connection: socket.socket) -> None:
        connection.settimeout(5)
        while connection.recv(65536):
            heard.append(connection.getpeername()[1])
            connection.sendall(OK)

    with server(listen) as port:
        for _ in range(3):
            assert b"ok" == Http().send("POST", f"http://127.0.0.1:{port}/", {}, b"x", seconds=5).body

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
        assert 200 == Http().send("POST", f"http://127.0.0.1:{port}/", {}, body, seconds=20).status


def test_who_refuses_a_body_half_way_is_heard() -> None:
    """An answer that comes before all of a body has left is an answer, though the other side has hung up."""

    def refuse(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(2**20):
            pass

    with server(refuse) as port:
        assert 413 == Http().send("POST", f"http://127.0.0.1:{port}/", {}, b"x" * 2**22, seconds=5).status


def test_a_packed_answer_is_unpacked() -> None:
    """Answers may come packed, and are handed out as what they mean."""
    body = gzip.compress(b"hello")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"

    def pack(connection: socket.socket) -> None:
        assert b"Accept-Encoding: gzip" in connection.recv(65536)
        connection.sendall(head.encode() + body)

    with server(pack) as port:
        assert b"hello" == Http().send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=5).body


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
        Http(Guard(LOOPBACK)).stream(f"http://127.0.0.1:{port}/a/b", {"Range": "bytes=5-"}, seconds=5) as stream,
    ):
        assert b"ok" == b"".join(stream.chunks)

    assert requests[1].startswith(heard.encode())
    assert b"Range: bytes=5-" in requests[1]


def test_a_circle_of_redirects_is_left() -> None:
    """Who is sent on and on gives up, for good."""
    moved = "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    with server(reply(moved)) as port, pytest.raises(Blocked, match="more than 3 redirects"):
        Http(Guard(LOOPBACK)).stream(f"http://127.0.0.1:{port}/", {}, seconds=5).__enter__()


@pytest.mark.parametrize("header", ["a\r\nX-Other: b", "\u2603"])
def test_a_header_that_can_t_be_sent_is_not(header: str) -> None:
    """Nothing leaves of a request whose header would be two, and no error repeats it."""
    heard: list[bytes] = []
    with (
        server(lambda connection: heard.append(connection.recv(10))) as port,
        pytest.raises(NotSent) as caught,
    ):
        Http().send("POST", f"http://127.0.0.1:{port}/", {"X-Key": header}, b"x", seconds=5)

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
        assert isinstance(Http().send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=5), Answer)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for loopback that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, known to us as an authority."""
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    dial._tls.cache_clear()
    yield certificate
    dial._tls.cache_clear()


def over_tls(certificate: Path, behave: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """`behave` behind a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def shake(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection.dup(), server_side=True) as secure:
                behave(secure)
        except OSError:
            return

    return shake


def test_a_call_goes_over_tls(trusted: Path) -> None:
    """To a server whose certificate an authority signed a call is sent, again and again with one reading of those."""
    with server(over_tls(trusted, reply(OK.decode()))) as port:
        for _ in range(2):
            answer = Http(Guard(LOOPBACK)).send("GET", f"https://127.0.0.1:{port}/", {}, None, seconds=5)
            assert b"ok" == answer.body

    assert 1 == dial._tls.cache_info().misses


def test_nobody_unproven_is_talked_to(certificate: Path) -> None:
    """To a server whose certificate no authority signed nothing is sent."""
    heard: list[bytes] = []
    with (
        server(over_tls(certificate, lambda secure: heard.append(secure.recv(10)))) as port,
        pytest.raises(NotSent, match="SSLCertVerificationError"),
    ):
        Http().send("POST", f"https://127.0.0.1:{port}/", {}, b"x", seconds=5)

    assert [] == heard


def test_a_guarded_handshake_is_not_begun(trusted: Path) -> None:
    """The guard judges before TLS: a peer that is refused does not even hear whom it was taken for."""
    heard: list[bytes] = []
    with server(lambda connection: heard.append(connection.recv(10))) as port, pytest.raises(Blocked):
        Http(Guard((ip_network("10.0.0.0/8"),))).send("GET", f"https://127.0.0.1:{port}/", {}, None, seconds=5)

    assert b"" == b"".join(heard)


def test_headers_that_drip_over_tls_are_hung_up_on(trusted: Path) -> None:
    """The deadline holds behind a handshake, too."""

    def drip(secure: socket.socket) -> None:
        secure.recv(65536)
        secure.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            secure.sendall(b"x")
            time.sleep(0.02)

    with server(over_tls(trusted, drip)) as port, pytest.raises(NoAnswer):
        Http(Guard(LOOPBACK)).send("POST", f"https://127.0.0.1:{port}/", {}, b"x", seconds=0.3)
