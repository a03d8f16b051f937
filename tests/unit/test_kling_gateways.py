from __future__ import annotations

from urllib.parse import quote

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kling.errors import BadAccountUrl
from worker.kling.gateways import parse_account
from worker.kling.token import LIFETIME, authorization

NOW = 1_790_000_000.0
SECRET = "a-secret-key-of-more-than-32-bytes!"


@pytest.mark.parametrize(
    ("url", "gateway", "base"),
    [
        (
            "kling://ACCESS:SECRET@api-singapore.klingai.com?concurrency=5",
            "official",
            "https://api-singapore.klingai.com",
        ),
        ("kling://KEY@", "official", "https://api-singapore.klingai.com"),
        ("kling://KEY@api-beijing.klingai.com", "official", "https://api-beijing.klingai.com"),
        ("cometapi://KEY@", "cometapi", "https://api.cometapi.com/kling"),
        ("anyapi://KEY@", "anyapi", "https://www.anyapi.vip/kling"),
        ("hingnet://KEY@", "hingnet", "https://models.hingnet.com.cn/kling"),
        ("https://KEY@gateway.example/kling/", "other", "https://gateway.example/kling"),
        ("https://KEY@gateway.example:8443/kling/v1", "other", "https://gateway.example:8443/kling"),
        ("http://AK:SK@127.0.0.1:8080", "other", "http://127.0.0.1:8080"),
        ("https://KEY@api.cometapi.com/kling", "cometapi", "https://api.cometapi.com/kling"),
    ],
)
def test_a_credential_url_says_where_and_how(url: str, gateway: str, base: str) -> None:
    """Scheme, host and path pick the gateway's row, its host and what stands before /v1."""
    account = parse_account(url)

    assert (gateway, base) == (account.gateway, account.base_url + account.prefix)


def test_concurrency_comes_from_the_url() -> None:
    """`?concurrency=5` is the account's number of slots."""
    assert parse_account("kling://A:B@?concurrency=5").concurrency == 5


@pytest.mark.parametrize(
    "url", ["", "kling://", "ftp://s3cr3t@h", "s3cr3t", "kling://s3cr3t@h?x=1", "kling://s3cr3t@h:port"]
)
def test_a_wrong_url_is_refused_without_being_repeated(url: str) -> None:
    """The error says what is wrong and shows nothing of the URL: it may be a secret in the wrong place."""
    with pytest.raises(BadAccountUrl) as caught:
        parse_account(url)

    assert "s3cr3t" not in str(caught.value)


@given(st.text(min_size=1, max_size=40), st.text(min_size=8, max_size=40))
def test_no_account_shows_its_secret(access: str, secret: str) -> None:
    """Whatever the key pair, neither a printed account nor an error holds the secret."""
    encoded = quote(secret, safe="")
    try:
        shown = repr(parse_account(f"kling://{quote(access, safe='')}:{encoded}@host"))
    except BadAccountUrl as fault:
        shown = str(fault)
    assert encoded not in shown


def test_an_api_key_is_sent_as_it_is() -> None:
    """One key alone is the bearer token."""
    assert authorization(parse_account("https://KEY@h/kling"), NOW) == "Bearer KEY"


@given(st.floats(1.7e9, 2.0e9))
def test_a_token_is_always_valid_and_renewed_early(now: float) -> None:
    """At any moment the token in use began before now and has at least half its life before it."""
    token = authorization(parse_account(f"kling://ACCESS:{SECRET}@"), now).removeprefix("Bearer ")
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False})

    assert claims["iss"] == "ACCESS"
    assert claims["nbf"] <= now
    assert claims["exp"] - now >= LIFETIME / 2
