"""URLs, read once and in one way by all who judge them and by who calls them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from urllib3.util import Url, parse_url

#: By scheme.
PORTS = {"http": 80, "https": 443}
_CONTROL = re.compile(r"[\0-\x1f\x7f]")


class BadUrl(ValueError):
    """A URL that can't be called, wherever it would lead. The text goes on where a sentence names it."""


def parsed(url: str) -> Url:
    """`url` as it is sent. Raises `BadUrl`."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise BadUrl("must be an absolute http:// or https:// URL")
    if "@" in parts.netloc:
        raise BadUrl("must not hold credentials")
    try:
        target = parse_url(url)
        host = host_of(target).encode("idna")
    except ValueError:
        host = b""
    if not host:  # a backslash ends it for one reader, and not for the other
        raise BadUrl("names a host that there can't be")
    return target


def host_of(target: Url) -> str:
    """The host, as it is looked up."""
    return (target.host or "").strip("[]")


def port_of(target: Url) -> int:
    """The port, also where the URL leaves it to its scheme."""
    return target.port or PORTS[target.scheme or "http"]


def fault_of(url: str) -> str | None:
    """What is wrong with `url`, as somebody wrote it, wherever it leads; None when nothing is."""
    try:
        parsed(url)
    except BadUrl as fault:
        return str(fault)
    return "must not hold control characters" if _CONTROL.search(url) else None
