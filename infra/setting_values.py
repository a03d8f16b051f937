"""How the text of a setting becomes its value, and the words for a text that can't."""

from __future__ import annotations

import base64
import re
import ssl
import string
from collections.abc import Mapping
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr, ValidationInfo
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

#: What a key may hold beside the values of its fields, which `worker.jobs.keys` makes just as plain.
_PLAIN = re.compile(r"[A-Za-z0-9._/-]*")
#: The most characters that each may have. Source of a key's: Amazon S3 User Guide, "Naming Amazon S3 objects".
_LONGEST_VALUES = MappingProxyType(
    {"family": 40, "job": 26, "kind": 8, "name": 24, "ordinal": 4, "extension": 4, "year": 4, "month": 2, "day": 2}
    | {"caller": 64}
)
#: What a key template may name; `worker.jobs.keys` gives each its value.
KEY_FIELDS = frozenset(_LONGEST_VALUES)
_LONGEST_KEY = 1024
#: What a template leaves of a key to the prefix of an API key before it, and the ending of a picture behind.
_LEFT_TO_OTHERS = 201 + len(".poster.jpg")
_PORT = "must have a number for a port; / ? # @ : of a password are written %2F %3F %23 %40 %3A"
_LAST_PORT = 65535
#: What pydantic calls a fault, and the rule in the words of the other messages.
_RULES = MappingProxyType(
    {
        "too_short": "must have at least {min_length} characters, and has {actual_length}",
        "int_parsing": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_parsing": "must be a number",
        "bool_parsing": "must be true or false",
        "greater_than": "must be more than {gt}",
        "greater_than_equal": "must be at least {ge}",
        "less_than_equal": "must be at most {le}",
        "literal_error": "must be {expected}",
    }
)


def _split(value: str) -> SplitResult:
    """The parts of a URL. Raises `ValueError` also for a port that is none, which `urlsplit` leaves for later."""
    parts = urlsplit(value)
    try:
        _ = parts.port
    except ValueError:  # its text repeats what stands there, and that may be half of a password
        raise ValueError(_PORT) from None
    return parts


def database_url(value: str) -> str:
    """A PostgreSQL URL, for our driver. Where its password ends SQLAlchemy says, which takes / ? # as they are."""
    parts = urlsplit(value)
    if parts.scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
        raise ValueError("must be a PostgreSQL URL, such as postgresql://user:password@host:5432/name")
    # Platforms hand out postgres:// and postgresql://; the driver is ours to choose.
    ours = urlunsplit(parts._replace(scheme="postgresql+psycopg"))
    try:
        port = make_url(ours).port or 0
    except (ArgumentError, ValueError):  # their texts repeat what stands there
        raise ValueError(_PORT) from None
    if port > _LAST_PORT:
        raise ValueError(_PORT)
    return ours


def redis_or_amqp_url(value: str) -> str:
    """The URL of a broker, with certificates looked at unless it says otherwise. Several that stand in for each other
    are separated by semicolons, as kombu has them.
    """
    for one in value.split(";"):
        _split(one)
    parts = urlsplit(value)
    if parts.scheme not in {"redis", "rediss", "amqp", "amqps"}:
        raise ValueError("must be a redis://, rediss://, amqp:// or amqps:// URL")
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in parse_qs(parts.query):
        # kombu reads a bare rediss:// as "do not verify"; say `?ssl_cert_reqs=none` to mean that.
        query = "&".join(filter(None, [parts.query, urlencode({"ssl_cert_reqs": "required"})]))
        return urlunsplit(parts._replace(query=query))
    return value


def http_url(value: str) -> str:
    """An absolute URL, without a slash at its end."""
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an absolute http:// or https:// URL")
    return value.rstrip("/")


def account_url(value: SecretStr) -> SecretStr:
    """A URL with credentials; `worker.kling.gateways` reads the rest of it."""
    parts = urlsplit(value.get_secret_value())
    if not parts.scheme or not parts.username:
        raise ValueError(
            "must carry its credentials, such as kling://ACCESS:SECRET@api-singapore.klingai.com or https://KEY@host/kling"
        )
    return value


def key_template(value: str) -> str:
    """A template by which no two files share a key, and none is outside its place."""
    try:
        parsed = list(string.Formatter().parse(value))
    except ValueError as fault:
        raise ValueError(f"is no template: {fault}") from None
    fields = {name for _, name, _, _ in parsed if name is not None}
    if unknown := fields - KEY_FIELDS:
        raise ValueError(f"names {', '.join(sorted(unknown))}; known are {', '.join(sorted(KEY_FIELDS))}")
    if missing := {"job", "name", "extension"} - fields:
        raise ValueError(f"must name {', '.join(sorted(missing))}, or the files of two jobs would share a key")
    if any(form or conversion for _, _, form, conversion in parsed):
        raise ValueError("must name its fields plainly, without : or !")
    if any(not _PLAIN.fullmatch(text) for text, _, _, _ in parsed):
        raise ValueError("must hold letters, digits, dot, underscore, hyphen and / only, beside its fields")
    longest = sum(len(text) + (_LONGEST_VALUES[name] if name else 0) for text, name, _, _ in parsed)
    if longest > (most := _LONGEST_KEY - _LEFT_TO_OTHERS):
        raise ValueError(
            f"makes keys of up to {longest} characters; at most {most} leave room for a prefix in S3's {_LONGEST_KEY}: "
            "shorten it, or name {caller} and {family} less often"
        )
    if {"", ".", ".."} & set(value.split("/")):
        raise ValueError("must not begin or end with /, nor hold an empty step, a . or a ..")
    return value


def with_kms(value: str, info: ValidationInfo) -> str:
    """A KMS key, where KMS is asked for."""
    if not str(info.data.get("s3_sse")).startswith("aws:kms"):
        raise ValueError("names a key that only S3_SSE=aws:kms uses: set that too, or leave this out")
    return value


def authorities(value: str) -> str:
    """The name of a file of certificates."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except OSError as fault:
        raise ValueError(f"must name a file of certificates in PEM form; {value} can't be read as one") from fault
    return value


def networks(value: object) -> object:
    """Networks, separated by commas."""
    if isinstance(value, str):
        return tuple(ip_network(item.strip()) for item in value.split(",") if item.strip())
    return value


def ports(value: object) -> object:
    """Ports, separated by commas or spaces."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def secrets(value: object) -> object:
    """Secrets (`whsec_...`), separated by commas."""
    if not isinstance(value, str):
        return value
    secrets = tuple(item.strip() for item in value.split(",") if item.strip())
    for secret in secrets:
        try:
            known = secret.startswith("whsec_") and base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            known = False
        if not known:
            raise ValueError("must be whsec_ and base64, several separated by commas")
    return secrets


def rule(error: Mapping[str, Any]) -> str:
    """What holds for the setting, as the other messages say it."""
    if form := _RULES.get(error["type"]):
        return form.format(**error.get("ctx", {}))
    return str(error["msg"]).removeprefix("Value error, ")
