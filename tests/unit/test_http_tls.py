"""Calls over TLS: what fails before it stands was not sent, what fails later may have been."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from infra import dial
from infra.guard import Guard
from infra.http import Blocked, Http, NoAnswer, NotSent
from tests.listener import by_clock, by_looks, reply, server
from tests.tls import make_certificate

LOOPBACK = (ip_network("127.0.0.0/8"),)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for loopback that signs itself, with its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever shakes hands with us runs in this process, and may be kept from it for longer than another machine."""
    monkeypatch.setattr(dial, "_CONNECT_SECONDS", 100)


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, known to us as an authority."""
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    dial._tls.cache_clear()
    yield certificate
    dial._tls.cache_clear()


def over_tls(
    certificate: Path, behave: Callable[[socket.socket], None], version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Callable[[socket.socket], None]:
    """`behave` behind a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.maximum_version = version

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
            answer = Http(Guard(LOOPBACK)).send("GET", f"https://127.0.0.1:{port}/", {}, None, seconds=100)
            assert b"ok" == answer.body

    assert 1 == dial._tls.cache_info().misses


def test_nobody_unproven_is_talked_to(certificate: Path) -> None:
    """To a server whose certificate no authority signed nothing is sent."""
    heard: list[bytes] = []
    with (
        server(over_tls(certificate, lambda secure: heard.append(secure.recv(10)))) as port,
        pytest.raises(NotSent, match=r"SSLCertVerificationError: self.signed certificate"),
    ):
        Http().send("POST", f"https://127.0.0.1:{port}/", {}, b"x", seconds=100)

    assert [] == heard


def test_a_private_authority_is_believed_where_it_is_named(certificate: Path) -> None:
    """By the file that was given, in place of the usual ones."""
    with server(over_tls(certificate, reply(OK.decode()))) as port:
        answer = Http(Guard(LOOPBACK), str(certificate)).send(
            "GET", f"https://127.0.0.1:{port}/", {}, None, seconds=100
        )

    assert b"ok" == answer.body


def test_a_guarded_handshake_is_not_begun(trusted: Path) -> None:
    """The guard judges before TLS: a peer that is refused does not even hear whom it was taken for."""
    heard: list[bytes] = []
    with server(lambda connection: heard.append(connection.recv(10))) as port, pytest.raises(Blocked):
        Http(Guard((ip_network("10.0.0.0/8"),))).send("GET", f"https://127.0.0.1:{port}/", {}, None, seconds=100)

    assert b"" == b"".join(heard)


def test_headers_that_drip_over_tls_are_hung_up_on(trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline holds behind a handshake, too."""
    by_looks(monkeypatch)

    def drip(secure: socket.socket) -> None:
        secure.recv(65536)
        secure.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            secure.sendall(b"x")
            time.sleep(0.01)

    with server(over_tls(trusted, drip)) as port, pytest.raises(NoAnswer):
        Http(Guard(LOOPBACK)).send("POST", f"https://127.0.0.1:{port}/", {}, b"x", seconds=60)


def alert(raw: socket.socket) -> None:
    """What a balancer says whose backend died."""
    raw.sendall(b"\x15\x03\x03\x00\x02\x02\x50")


def damage(raw: socket.socket) -> None:
    """A record that was changed on its way."""
    raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))


def vanish(raw: socket.socket) -> None:
    """An end without a word."""
    raw.shutdown(socket.SHUT_RDWR)


def reset(raw: socket.socket) -> None:
    """An end as by who lost all memory of the connection."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("fault", [alert, damage, vanish, reset])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [2, 2**23])
def test_once_the_handshake_is_done_the_outcome_is_unknown(
    trusted: Path, fault: Callable[[socket.socket], None], version: ssl.TLSVersion, size: int
) -> None:
    """A create that may have been read, or half of it, is not one to send again, whatever then becomes of TLS."""
    heard: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        def read(secure: socket.socket) -> None:
            heard.append(secure.recv(65536))
            fault(connection)

        over_tls(trusted, read, version)(connection)

    with server(behave) as port, pytest.raises(NoAnswer):
        Http().send("POST", f"https://127.0.0.1:{port}/v1/videos", {}, b"x" * size, seconds=100)

    assert [True] == [b"POST /v1/videos" in text for text in heard]


@pytest.mark.parametrize("fault", [alert, damage, vanish, reset])
def test_until_the_handshake_is_done_nothing_was_sent(fault: Callable[[socket.socket], None]) -> None:
    """What fails while two sides agree on TLS may be tried again."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        fault(connection)

    with server(behave) as port, pytest.raises(NotSent):
        Http().send("POST", f"https://127.0.0.1:{port}/", {}, b"x", seconds=100)


def test_a_certificate_for_another_is_none(trusted: Path) -> None:
    """What an authority said of one host does not hold for the next."""
    with (
        server(over_tls(trusted, reply(OK.decode())), "127.0.0.2") as port,
        pytest.raises(NotSent, match="SSLCertVerificationError: IP address mismatch"),
    ):
        Http().send("POST", f"https://127.0.0.2:{port}/", {}, b"x", seconds=100)


def test_who_takes_a_body_too_slowly_is_left(trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline holds while a body is on its way, too."""
    done, now = threading.Event(), [0.0]
    by_clock(monkeypatch, lambda: now[0])

    def may() -> bool:
        now[0] = 99.5  # the connection stands, however long that took
        return True

    def sip(secure: socket.socket) -> None:
        while not done.wait(0.02) and secure.recv(1000):
            pass

    with server(over_tls(trusted, sip)) as port:
        try:
            with pytest.raises(NoAnswer):
                Http().send("POST", f"https://127.0.0.1:{port}/", {}, b"x" * 2**25, seconds=100, may=may)
        finally:
            done.set()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_read_that_waits_can_be_stopped(trusted: Path, scheme: str) -> None:
    """Another thread can end a fetch that waits for its next byte, and what is read then is no part of the file."""
    done = threading.Event()

    def begin(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        done.wait(60)

    with server(over_tls(trusted, begin) if scheme == "https" else begin) as port:
        try:
            with Http(Guard(LOOPBACK)).stream(f"{scheme}://127.0.0.1:{port}/", {}, seconds=3600) as stream:
                assert b"begun" == next(stream.chunks)
                threading.Timer(0.1, stream.stop).start()
                with pytest.raises(NoAnswer):
                    next(stream.chunks)
        finally:
            done.set()
