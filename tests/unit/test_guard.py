"""Which addresses may be talked to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.guard import Address, Guard

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


#: Each class of addresses that leads inside, or to nobody in particular: all of IANA's special-purpose registries.
CLASSES = {
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/10", "fec0::/10"),
    "shared by a carrier": ("100.64.0.0/10",),
    "NAT64": ("64:ff9b::/96", "64:ff9b:1::/48"),
    "6to4": ("2002::/16", "192.88.99.0/24"),
    "Teredo": ("2001::/32",),
    "IPv4 written in other ways": ("::/96", "::ffff:0:0:0/96"),
    "AS112 and AMT": (
        "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "2001:3::/32", "2001:4:112::/48", "2620:4f:8000::/48",
    ),
    "protocol assignments": ("192.0.0.0/24", "2001::/23", "2001:1::/126", "2001:20::/28", "2001:30::/28"),
    "SRv6": ("5f00::/16",),
    "discarded": ("100::/64", "100:0:0:1::/64"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "mapped": ("::ffff:10.0.0.0/104", "::ffff:127.0.0.0/104", "::ffff:169.254.0.0/112", "::ffff:224.0.0.0/100"),
    "nobody's": ("0.0.0.0/8", "240.0.0.0/4", "192.0.2.0/24", "198.18.0.0/15", "2001:db8::/32", "3fff::/20", "::/128"),
    "documentation": ("198.51.100.0/24", "203.0.113.0/24"),
    "never given out": ("::/3", "4000::/2", "8000::/1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES)
@given(st.data())
def test_no_address_of_a_class_that_leads_inside_passes(kind: str, data: st.DataObject) -> None:
    """Any address of any of these networks is refused, at any port, with TLS and without."""
    network = data.draw(st.sampled_from(CLASSES[kind]))
    version: Literal[4, 6] = 6 if ":" in network else 4
    peer = data.draw(st.ip_addresses(v=version, network=network))

    assert Guard(ports=(443, 80)).refusal(peer, data.draw(st.sampled_from([443, 80])), tls=data.draw(st.booleans()))


@given(st.ip_addresses(v=6, network="2000::/3"), st.ip_addresses(v=4), st.sampled_from([0x5EFE, 0x02005EFE]))
def test_no_address_that_a_router_unwraps_passes(peer: IPv6Address, inner: IPv4Address, mark: int) -> None:
    """ISATAP: whatever network it is in, what it ends in may be an address inside."""
    tunnelled = IPv6Address(int(peer) >> 64 << 64 | mark << 32 | int(inner))

    assert "the address is not a public one" == Guard().refusal(tunnelled, tls=True)


def test_what_is_mapped_may_be_public() -> None:
    """An IPv4 address written as IPv6 passes where it would as itself, though nothing else of its network does."""
    assert Guard().refusal(ip_address("::ffff:1.1.1.1"), tls=True) is None
    assert Guard().refusal(ip_address("::ffff:0:1.1.1.1"), tls=True) is not None


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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:10.0.0.1]", "10.1",
                                  "localhost", "LOCALHOST.", "app.localhost", "169.254.169.254"])  # fmt: skip
def test_a_host_that_needs_no_look_up_is_judged_before_one(host: str) -> None:
    """However an address is written."""
    assert "the address is not a public one" == Guard().refusal_unasked(f"https://{host}/")


@pytest.mark.parametrize("url", ["https://1.1.1.1/", "https://cafe/", "https://a.example/", "https://[2606:4700::1]/"])
def test_what_may_be_good_is_not_refused_before_a_look_up(url: str) -> None:
    """A name may lead to the public, and also to where settings allow it."""
    assert Guard().refusal_unasked(url) is None
    assert Guard(LOOPBACK).refusal_unasked(url) is None
    assert Guard(LOOPBACK).refusal_unasked("http://a.example:1/") is None
    assert Guard(LOOPBACK).refusal_unasked("http://localhost:1/") is None


@given(st.integers(0, 2**32 - 1).map(IPv4Address), st.sampled_from(["http", "https"]), st.sampled_from([1, 443]))
def test_an_address_is_judged_before_as_it_will_be(peer: IPv4Address, scheme: str, port: int) -> None:
    """The door says of it what the guard will say at delivery."""
    for guard in (Guard(), Guard((ip_network("10.0.0.0/8"), *LOOPBACK))):
        said = guard.refusal_unasked(f"{scheme}://{peer}:{port}/")
        assert guard.refusal(peer, port, tls=scheme == "https") == said
