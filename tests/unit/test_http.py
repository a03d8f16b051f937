import socket
import threading
import time
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import dial
from infra.http import Address, Blocked, Guard, Http, NoAnswer, NotSent
from tests.listener import reply, server

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "224.0.0.1", "0.0.0.0", "192.0.0.8",
        "192.88.99.1", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
        "2002:a9fe:a9fe::", "fec0::1", "fe80::1", "fdaa::3", "ff02::1", "2001::1",
    ],
)  # fmt: skip
def test_the_guard_refuses_what_leads_inside(address: str) -> None:
    """No private, loopback, link-local, translated or multicast peer is talked to, also over TLS."""
    assert Guard().refusal(ip_address(address), tls=True) is not None


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111"])
def test_the_guard_lets_public_addresses_pass_by_tls_only(address: str) -> None:
    """A public peer may be talked to by https, and not by plain http."""
    assert Guard().refusal(ip_address(address), tls=True) is None
    assert Guard().refusal(ip_address(address), tls=False) is not None


def test_the_guard_lets_named_ports_pass_only() -> None:
    """A public peer is talked to at the allowed ports; a peer of an allowed network at any."""
    public, inside = ip_address("1.1.1.1"), ip_address("127.0.0.1")

    assert [None, None, "port 22 is not allowed"] == [Guard().refusal(public, n, tls=True) for n in (443, 8443, 22)]
    assert Guard(ports=(22,)).refusal(public, 22, tls=True) is None
    assert Guard(LOOPBACK).refusal(inside, 22, tls=False) is None


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
                f"http://127.0.0.1:{port}/", {"Authorization": "Bearer s3cr3t"}, seconds=5
            ) as stream,
        ):
            assert 200 == stream.status

    assert b"s3cr3t" not in heard[0]
    assert b"Cookie" not in heard[0]


def test_a_source_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer bytes a second than asked for, over the time that is looked at, end the fetch long before its limit."""
    monkeypatch.setattr(dial, "_SILENCE_SECONDS", 0.3)
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not stop.wait(0.02):
            try:
                connection.sendall(b"x")
            except OSError:
                return

    with server(drip) as port:
        try:
            with (
                pytest.raises(NoAnswer, match="too slowly"),
                Http().stream(f"http://127.0.0.1:{port}/", {}, seconds=60, slowest=1000) as stream,
            ):
                list(stream.chunks)
        finally:
            stop.set()


def test_a_guarded_call_to_loopback_sends_nothing() -> None:
    """The guard judges after connect and before the first byte: the peer sees a connection and no request."""
    heard: list[bytes] = []
    done = threading.Event()

    def listen(connection: socket.socket) -> None:
        heard.append(connection.recv(10))
        done.set()

    with server(listen) as port:
        with pytest.raises(Blocked):
            Http(Guard()).send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=5)
        assert done.wait(5)

    assert heard == [b""]


def test_a_redirect_to_an_inside_address_is_blocked() -> None:
    """Each hop of a redirect is judged anew: an allowed host can't lead to one that isn't."""
    with server(reply("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "::1") as inside:
        moved = f"HTTP/1.1 302 Found\r\nLocation: http://[::1]:{inside}/\r\nContent-Length: 0\r\n\r\n"
        with (
            server(reply(moved)) as port,
            pytest.raises(Blocked),
            Http(Guard(LOOPBACK)).stream(f"http://127.0.0.1:{port}/", {}, seconds=5),
        ):
            pass


def test_a_refused_connection_was_not_sent() -> None:
    """Nobody listens: nothing was sent, and trying again is safe."""
    with server(reply("")) as port:
        pass
    with pytest.raises(NotSent):
        Http().send("POST", f"http://127.0.0.1:{port}/", {}, b"x", seconds=5)


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
        Http().send("POST", f"http://127.0.0.1:{port}/", {}, b"x", seconds=5)


def test_a_slow_answer_ends_at_the_deadline() -> None:
    """The limit bounds the whole call, not each read: a byte now and then does not keep it alive."""
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not stop.wait(0.05):
            try:
                connection.sendall(b"1\r\nx\r\n")
            except OSError:
                return

    with server(drip) as port:
        try:
            with pytest.raises(NoAnswer):
                Http().send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=0.5)
        finally:
            stop.set()


def test_an_endless_answer_ends_at_the_limit() -> None:
    """No more of an answer is kept than the caller allowed."""
    with (
        server(reply("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + "x" * 5000)) as port,
        pytest.raises(NoAnswer, match="longer than 100 bytes"),
    ):
        Http().send("GET", f"http://127.0.0.1:{port}/", {}, None, seconds=5, limit=100)


@pytest.mark.parametrize("url", ["", "ftp://h/x", "http://", "http://[", "http://h:x/", "/path", "https://u:p@h/"])
def test_what_is_no_plain_url_is_blocked(url: str) -> None:
    """A guarded call takes absolute http(s) URLs without credentials, nothing else."""
    with pytest.raises(Blocked):
        Http(Guard(LOOPBACK)).send("GET", url, {}, None, seconds=5)


def test_no_error_repeats_a_query_string() -> None:
    """A signed link's query is a secret; errors name the host only."""
    with server(reply("")) as port, pytest.raises(NoAnswer) as caught:
        Http().send("GET", f"http://127.0.0.1:{port}/x?X-Amz-Signature=s3cr3t", {}, None, seconds=5)

    assert "s3cr3t" not in str(caught.value)


def test_headers_that_drip_are_hung_up_on() -> None:
    """A peer that sends a byte of its headers now and then, for ever, holds nobody beyond the deadline."""

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while True:
                connection.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            return

    with server(drip) as port, pytest.raises(NoAnswer):
        Http(Guard(LOOPBACK)).send("POST", f"http://127.0.0.1:{port}/", {}, b"x", seconds=0.5)


#: Each class of addresses that leads inside, or to nobody in particular.
CLASSES = {
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/10", "fec0::/10"),
    "shared by a carrier": ("100.64.0.0/10",),
    "NAT64": ("64:ff9b::/96", "64:ff9b:1::/48"),
    "6to4": ("2002::/16", "192.88.99.0/24"),
    "Teredo": ("2001::/32",),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "mapped": ("::ffff:10.0.0.0/104", "::ffff:127.0.0.0/104", "::ffff:169.254.0.0/112", "::ffff:224.0.0.0/100"),
    "nobody's": ("0.0.0.0/8", "240.0.0.0/4", "192.0.2.0/24", "198.18.0.0/15", "2001:db8::/32", "::/128"),
}


@pytest.mark.parametrize("kind", CLASSES)
@given(st.data())
def test_no_address_of_a_class_that_leads_inside_passes(kind: str, data: st.DataObject) -> None:
    """Any address of any of these networks is refused, at any port, with TLS and without."""
    network = data.draw(st.sampled_from(CLASSES[kind]))
    version: Literal[4, 6] = 6 if ":" in network else 4
    peer = data.draw(st.ip_addresses(v=version, network=network))

    assert Guard(ports=(443, 80)).refusal(peer, data.draw(st.sampled_from([443, 80])), tls=data.draw(st.booleans()))


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_what_it_maps(peer: IPv4Address) -> None:
    """Writing an IPv4 address as IPv6 changes nothing, whichever it is."""
    mapped = IPv6Address(f"::ffff:{peer}")

    assert Guard().refusal(peer, tls=True) == Guard().refusal(mapped, tls=True)


@given(st.ip_addresses(), st.ip_addresses(v=4), st.integers(8, 32))
def test_only_what_was_allowed_passes_by_plain_http(peer: Address, base: IPv4Address, bits: int) -> None:
    """Without TLS a peer passes if and only if it is in an allowed network, written either way."""
    network = IPv4Network((int(base) >> (32 - bits) << (32 - bits), bits))
    meant = peer.ipv4_mapped or peer if isinstance(peer, IPv6Address) else peer

    assert (meant in network) == (Guard((network,)).refusal(peer, 80, tls=False) is None)
