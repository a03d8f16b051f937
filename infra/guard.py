"""Which addresses may be talked to: the public's, and those that somebody allowed."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import inet_aton

from infra.names import look_up
from infra.settings import Network
from infra.urls import fault_of, host_of, parsed, port_of

Address = IPv4Address | IPv6Address

#: The only part of IPv6 out of which networks were ever given to anybody. All that leads to an IPv4 address in another
#: way (::a.b.c.d, ::ffff:0:a.b.c.d, NAT64) or stays inside lies elsewhere.
#: https://www.iana.org/assignments/ipv6-address-space
_GIVEN_OUT = ip_network("2000::/3")
#: What `ipaddress.is_global`, in one version of Python or another, takes for public though nobody serves a file there:
#: https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry.
_NOBODYS = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # shared by a carrier's customers
        "192.0.0.0/24",  # protocol assignments
        "192.31.196.0/24", "192.175.48.0/24", "2620:4f:8000::/48",  # AS112: whoever is near answers
        "192.52.193.0/24",  # AMT: as AS112
        "192.88.99.0/24", "2002::/16",  # 6to4
        "2001::/23",  # protocol assignments, Teredo among them
        "3fff::/20",  # documentation
    )
)  # fmt: skip

#: A public address: where a name leads at best.
_SOMEWHERE = ip_address("1.1.1.1")
#: What resolvers read as an IPv4 address though it is not written as one.
_NUMBERS = re.compile(r"(?:0x)?[0-9a-f]+(?:\.(?:0x)?[0-9a-f]+){0,3}")
#: Somebody waits for the answer, and a thread of the door with them.
_LOOK_UP_SECONDS = 10


class Guard:
    """Which peers may be talked to: the public ones by https, the allowed networks by http too."""

    def __init__(self, allow: tuple[Network, ...] = (), ports: tuple[int, ...] = (443, 8443)) -> None:
        self._allow = allow
        self._ports = ports

    def refusal(self, peer: Address, port: int = 443, *, tls: bool) -> str | None:
        """Why `peer` must not be talked to at `port`; None when it may."""
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped:
            peer = peer.ipv4_mapped
        if any(peer in network for network in self._allow):
            return None
        if not _is_public(peer):
            return "the address is not a public one"
        if not tls:
            return "plain http is not allowed"
        return None if port in self._ports else f"port {port} is not allowed"

    def refusal_of(self, url: str) -> str | None:
        """Why `url` must not be used, as far as can be known before a connection is made; None when it may be."""
        if fault := fault_of(url):
            return fault
        target = parsed(url)
        tls, port = target.scheme == "https", port_of(target)
        try:
            found = look_up(host_of(target), port, _LOOK_UP_SECONDS)
        except OSError:
            return "names a host that can't be resolved"
        peers = [address_of(str(where[4][0])) for where in found]
        return next((reason for peer in peers if (reason := self.refusal(peer, port, tls=tls))), None)

    def refusal_unasked(self, url: str) -> str | None:
        """As `refusal_of`, before anybody is asked where a name leads: what will be refused wherever that is."""
        if fault := fault_of(url):
            return fault
        target = parsed(url)
        peers = _written(host_of(target))
        if not peers and self._allow:
            return None
        tls, port = target.scheme == "https", port_of(target)
        refusals = [self.refusal(peer, port, tls=tls) for peer in peers or (_SOMEWHERE,)]
        return refusals[0] if all(refusals) else None


def _written(host: str) -> tuple[Address, ...]:
    """Where a host leads that needs no look-up; nothing where it does. `127.1` and `0x7f000001` are addresses, too."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3
        return ip_address("127.0.0.1"), ip_address("::1")
    with suppress(ValueError):
        return (address_of(name),)
    with suppress(OSError):
        return (ip_address(inet_aton(name)),) if _NUMBERS.fullmatch(name) else ()
    return ()


def _is_public(peer: Address) -> bool:
    if isinstance(peer, IPv6Address) and (peer not in _GIVEN_OUT or _is_tunnelled(peer)):
        return False
    return peer.is_global and not peer.is_multicast and not any(peer in network for network in _NOBODYS)


def _is_tunnelled(peer: IPv6Address) -> bool:
    """Whether it ends in an IPv4 address that a router would send on to: ISATAP, RFC 5214."""
    return int(peer) >> 32 & 0xFDFFFFFF == 0x5EFE


def address_of(text: str) -> Address:
    """The address that a socket calls so; which of our links leads there does not matter."""
    return ip_address(text.partition("%")[0])
