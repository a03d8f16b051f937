"""Who stands between us and Kling: a row each, and a credential URL that picks one.

    kling://ACCESS:SECRET@api-singapore.klingai.com?concurrency=5    access key and secret key, signed as JWT
    kling://APIKEY@                                                  one API key, sent as bearer
    cometapi://KEY@   anyapi://KEY@   hingnet://KEY@                 the gateways of the seeds
    https://KEY@host/kling                                           any other one; the path is the prefix before /v1
    http://ACCESS:SECRET@127.0.0.1:8080                              an emulator

`?gateway=NAME` makes a plain URL speak a row's dialect. Characters such as ``/ @ : # ?`` in a key are percent-encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from worker.kling.editions import NEWEST, SEEDS
from worker.kling.errors import BadAccountUrl, UnknownGateway

#: Tasks at once where the URL says nothing: the figure quoted for standard packs (spec section 8); 1303 teaches less.
DEFAULT_CONCURRENCY = 20


@dataclass(frozen=True, slots=True)
class Gateway:
    """One host family: where it is, how its paths begin, how it wants to be asked, which document describes it."""

    name: str
    hosts: tuple[str, ...]  #: the first is the default
    prefix: str  #: before /v1
    edition: str  #: of the reference that its own document corresponds to
    key_pairs: bool  #: whether access key + secret key (JWT) are understood
    source: str


GATEWAYS: Mapping[str, Gateway] = MappingProxyType(
    {
        row.name: row
        for row in (
            Gateway(
                "official",
                ("api-singapore.klingai.com", "api-beijing.klingai.com", "api.klingai.com"),
                "",
                NEWEST,
                key_pairs=True,
                source="spec 1.1 (Ca, B, R, K)",
            ),
            Gateway("cometapi", ("api.cometapi.com",), "/kling", SEEDS, key_pairs=False, source="S0, S3"),
            Gateway(
                "anyapi", ("www.anyapi.vip", "anyapi.vip"), "/kling", SEEDS, key_pairs=False, source="S1 (OpenAPI), AX"
            ),
            Gateway("hingnet", ("models.hingnet.com.cn",), "/kling", SEEDS, key_pairs=False, source="S2"),
            Gateway("other", (), "/kling", NEWEST, key_pairs=True, source="spec 1.2"),
        )
    }
)

_SCHEMES = {"kling": "official", "cometapi": "cometapi", "anyapi": "anyapi", "hingnet": "hingnet"}
_BY_HOST = {host: row.name for row in GATEWAYS.values() for host in row.hosts}
_PARAMETERS = ("concurrency", "gateway")


def gateway(name: str) -> Gateway:
    """The row of that name. Raises UnknownGateway."""
    if name not in GATEWAYS:
        raise UnknownGateway(f"unknown gateway; known are {', '.join(GATEWAYS)}")
    return GATEWAYS[name]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, sent as it is."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Access key and secret key: a short-lived token is signed with them."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """One credential at one gateway. Wire paths are `{base_url}{prefix}/v1/{family}`."""

    name: str
    gateway: str
    base_url: str  #: scheme and authority, without a slash at the end
    prefix: str  #: "" or "/kling"
    credential: ApiKey | KeyPair = field(repr=False)
    concurrency: int = DEFAULT_CONCURRENCY  #: tasks between submitted and the end


def parse_account(url: str, name: str = "default") -> Account:
    """The account that a credential URL means. Raises BadAccountUrl, whose text repeats nothing of the URL."""
    try:
        return _account(url, name)
    except BadAccountUrl as problem:
        raise BadAccountUrl(f"account {name!r}: {problem}") from None
    except ValueError:
        # urllib and unquote quote what they dislike, and that may be the secret.
        raise BadAccountUrl(f"account {name!r}: host, port or percent-encoding of the URL is not valid") from None


def _account(url: str, name: str) -> Account:
    if any(character.isspace() or not character.isprintable() for character in url):
        raise BadAccountUrl("the URL contains a space or a control character")
    parts = urlsplit(url)
    if "@" not in parts.netloc or "#" in url:
        raise BadAccountUrl("write SCHEME://KEY@HOST; characters such as / ? # in a key must be percent-encoded")
    options = _options(parts)
    row = _gateway(parts, options)
    plain = parts.scheme in {"http", "https"}
    prefix = parts.path.rstrip("/").removesuffix("/v1") if plain or parts.path.strip("/") else row.prefix
    return Account(
        name=name,
        gateway=row.name,
        base_url=f"{parts.scheme if plain else 'https'}://{_authority(parts, row)}",
        prefix=prefix,
        credential=_credential(parts, row),
        concurrency=_concurrency(options),
    )


def _options(parts: SplitResult) -> dict[str, str]:
    pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    options = dict(pairs)
    if len(options) != len(pairs) or not options.keys() <= set(_PARAMETERS):
        raise BadAccountUrl(f"the parameters after ? are {' and '.join(_PARAMETERS)}, each at most once")
    return options


def _gateway(parts: SplitResult, options: Mapping[str, str]) -> Gateway:
    if parts.scheme in _SCHEMES:
        wanted = _SCHEMES[parts.scheme]
    elif parts.scheme in {"http", "https"}:
        wanted = options.get("gateway") or _BY_HOST.get(parts.hostname or "", "other")
    else:
        raise BadAccountUrl(f"the scheme is one of {', '.join(_SCHEMES)}, https, http")
    if wanted not in GATEWAYS:
        raise BadAccountUrl(f"the gateway is one of {', '.join(GATEWAYS)}")
    return GATEWAYS[wanted]


def _authority(parts: SplitResult, row: Gateway) -> str:
    host = parts.hostname or (row.hosts[0] if row.hosts and parts.scheme in _SCHEMES else "")
    if not host:
        raise BadAccountUrl("the host is missing")
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{parts.port}" if parts.port is not None else shown


def _credential(parts: SplitResult, row: Gateway) -> ApiKey | KeyPair:
    userinfo, _, _ = parts.netloc.rpartition("@")
    user, pair, password = userinfo.partition(":")
    key, secret = (unquote(text, errors="strict") for text in (user, password))
    if not key or (pair and not secret):
        raise BadAccountUrl("the key before @ is missing")
    if not all("!" <= character <= "~" for character in key):
        raise BadAccountUrl("the key has a character that no HTTP header may carry")
    if not pair:
        return ApiKey(key)
    if not row.key_pairs:
        raise BadAccountUrl(f"{row.name} takes one key, not a pair")
    return KeyPair(key, secret)


def _concurrency(options: Mapping[str, str]) -> int:
    text = options.get("concurrency", str(DEFAULT_CONCURRENCY))
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) >= 1):
        raise BadAccountUrl("concurrency is a whole number from 1 to 99999")
    return int(text)
