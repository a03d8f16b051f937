"""API keys: what each may do, how two of them live side by side, how fast they may ask."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import jwt
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text

from tests.fakes import MORNING, race
from tests.house import OMNI, TEXT, House
from tests.receiver import Receiver
from webhook.client import verify_webhook
from worker.jobs.access import Caller, Scope
from worker.services import now
from worker.store.keys import ApiKeys, Terms
from worker.store.rates import Rates
from worker.store.tables import api_keys


def made(home: House, name: str = "app", **terms: Any) -> dict[str, str]:
    """Credentials of a new key with these terms."""
    return bearer(home.services.keys.create(name, now(), Terms(**terms)))


def bearer(key: str) -> dict[str, str]:
    """As a client sends it."""
    return {"Authorization": f"Bearer {key}"}


def signed(name: str, key: str, **claims: Any) -> dict[str, str]:
    """As Kling's own clients do it."""
    at = int(time.time())
    return bearer(jwt.encode({"iss": name, "exp": at + 1800, "nbf": at - 5, **claims}, key, "HS256"))


def listed(home: House, headers: dict[str, str]) -> requests.Response:
    """What a key is told of its tasks."""
    return requests.get(home.url + OMNI, headers=headers, timeout=10)


# --- scopes ---------------------------------------------------------------------------------------------------------
ROUTES = [
    ("POST", OMNI, Scope.SUBMIT), ("POST", "/v1/general/advanced-custom-elements", Scope.SUBMIT),
    ("GET", OMNI, Scope.READ), ("GET", f"{OMNI}/x", Scope.READ), ("GET", "/account/costs", Scope.READ),
    ("GET", "/v1/general/advanced-custom-elements", Scope.READ),
    ("GET", "/api/jobs/x", Scope.READ), ("GET", "/api/jobs/x/timeline", Scope.READ),
    ("POST", "/api/jobs/x/cancel", Scope.OPERATE),
    ("GET", "/api/subscriptions", Scope.READ), ("POST", "/api/subscriptions", Scope.OPERATE),
    ("DELETE", "/api/subscriptions/x", Scope.OPERATE),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_a_route_wants_its_scope(home: House, method: str, path: str, scope: Scope) -> None:
    """403, in Kling's code 1103 on Kling's paths and as a problem on ours; the text says what is missing and how to get
    it. With that scope alone the same request is let through.
    """
    others = made(home, "others", scopes=tuple(one for one in Scope if one is not scope))
    mine = made(home, "mine", scopes=(scope,))
    refused = requests.request(method, home.url + path, headers=others, json={}, timeout=10)
    passed = requests.request(method, home.url + path, headers=mine, json={}, timeout=10)
    shown = refused.json()

    assert (403, "403" if "/api/" in path else "1103") == (
        refused.status_code,
        str(shown.get("code", shown.get("status"))),
    )
    assert f"lacks the scope '{scope}'" in refused.text
    assert f"reelhook keys change others --scopes {','.join(sorted(Scope))}" in refused.text
    assert passed.status_code not in {401, 403}


@pytest.mark.parametrize("path", [path for method, path, _ in ROUTES if (method, path[:5]) == ("GET", "/api/")])
def test_who_may_look_may_ask_whether_there_is_something(home: House, path: str) -> None:
    """HEAD wants what GET does, and is answered as that is."""
    headers = made(home, scopes=(Scope.READ,))
    asked = [requests.request(method, f"{home.url}{path}", headers=headers, timeout=30) for method in ("GET", "HEAD")]

    assert asked[0].status_code == asked[1].status_code != 403


def test_every_route_of_ours_asks_who_it_is(home: House) -> None:
    """No route but health, the description and Kling's callbacks answers anything to somebody without a key."""
    application = home.application
    free = {"health.alive", "health.ready", "callbacks.receive", "description.as_document", "description.as_page",
            "description.front"}  # fmt: skip
    rules = [rule for rule in application.url_map.iter_rules() if rule.endpoint not in free]
    client = application.test_client()
    answers = {
        (rule.rule, method): client.open(_filled(rule.rule), method=method, json={}).status_code
        for rule in rules
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"})
    }

    assert {401} == set(answers.values()), answers


def _filled(rule: str) -> str:
    """A path that a rule leads to."""
    return rule.replace("<path:family>", "videos/omni-video").replace("<", "").replace(">", "")


# --- two secrets ----------------------------------------------------------------------------------------------------
def test_while_a_key_is_replaced_both_open(engine: Engine) -> None:
    """Bearer and signature, old and new, until the overlap is over; from then on the new one alone."""
    keys = ApiKeys(engine, b"secret")
    old = keys.create("app", MORNING)
    new = keys.rotate("app", MORNING, timedelta(hours=24))
    assert new is not None
    later = MORNING + timedelta(hours=25)

    assert [Caller("app")] * 2 == [keys.caller(key, MORNING) for key in (old, new)]
    assert [new, old] == keys.signer("app", MORNING)[1]
    assert [None, Caller("app")] == [keys.caller(key, later) for key in (old, new)]
    assert [new] == keys.signer("app", later)[1]


def test_both_keys_sign_through_the_door(home: House) -> None:
    """A client that signs goes on with the old key, one that was given the new one begins with it."""
    old = home.services.keys.create("app", now())
    new = home.services.keys.rotate("app", now(), timedelta(hours=1))
    assert new is not None
    asked = [bearer(old), bearer(new), signed("app", old), signed("app", new), signed("app", "x" * 40)]

    assert [200, 200, 200, 200, 401] == [listed(home, headers).status_code for headers in asked]


def test_a_revoked_or_expired_key_opens_nothing(engine: Engine) -> None:
    """Nor does the one before it, nor a signature."""
    keys = ApiKeys(engine, b"secret")
    old = keys.create("app", MORNING)
    new = keys.rotate("app", MORNING, timedelta(hours=24))
    brief = keys.create("brief", MORNING, Terms(expires_at=MORNING + timedelta(days=1)))
    assert new is not None
    assert keys.caller(brief, MORNING) == Caller("brief")
    assert keys.revoke("app", MORNING)
    late = MORNING + timedelta(days=2)

    assert [None] * 3 == [keys.caller(key, late if key == brief else MORNING) for key in (old, new, brief)]
    assert [None, None] == [keys.signer(name, late)[0] for name in ("app", "brief")]
    assert keys.rotate("app", MORNING, timedelta(0)) is None


def test_use_is_noted_to_the_minute(engine: Engine) -> None:
    """The first use is written, those of the same minute are not, a later one is; the row is not touched between."""
    keys = ApiKeys(engine, b"secret")
    key = keys.create("app", MORNING)

    def version() -> tuple[Any, ...]:
        with engine.connect() as connection:
            return tuple(connection.execute(text("select xmin, used_at from api_keys")).one())

    keys.caller(key, MORNING)
    first = version()
    keys.caller(key, MORNING + timedelta(seconds=59))
    same = version()
    keys.caller(key, MORNING + timedelta(seconds=60))

    assert (MORNING, first) == (first[1], same)
    assert MORNING + timedelta(seconds=60) == version()[1]


# --- tokens ---------------------------------------------------------------------------------------------------------
def _part(body: bytes) -> str:
    return jwt.utils.base64url_encode(body).decode()


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"nbf": 20}, 0), ({"exp": -20}, 0),  # clocks may differ by half a minute
        ({"nbf": 60}, 1003), ({"exp": -60}, 1004), ({"iat": 60}, 1003),
    ],
)  # fmt: skip
def test_a_client_s_clock_may_be_a_little_off(home: House, claims: dict[str, int], code: int) -> None:
    """Half a minute either way is let through, a minute is not."""
    at = int(time.time())
    headers = signed("default", home.key, **{name: at + seconds for name, seconds in claims.items()})

    assert code == listed(home, headers).json()["code"]


@pytest.mark.parametrize("algorithm", ["HS384", "HS512", "none"])
def test_another_algorithm_is_refused(home: House, algorithm: str) -> None:
    """HS256 alone, whatever a token says of itself."""
    claims = {"iss": "default", "exp": int(time.time()) + 60}
    token = jwt.encode(claims, home.key * 2 if algorithm != "none" else "", algorithm)

    assert 1002 == listed(home, bearer(token)).json()["code"]


@pytest.mark.parametrize(
    "claims", [{"exp": None}, {"exp": "soon"}, {"exp": float("inf")}, {"nbf": "x"}, {"iss": None}, {"iss": 7}]
)
def test_a_token_with_odd_claims_is_refused(home: House, claims: dict[str, Any]) -> None:
    """An end that is missing, no number or beyond all numbers; a signer that is none."""
    at = int(time.time())
    whole = {"iss": "default", "exp": at + 60, "nbf": at, **claims}
    payload = json.dumps({name: value for name, value in whole.items() if value is not None}).encode()
    answer = listed(home, bearer(jwt.PyJWS().encode(payload, home.key, "HS256")))

    assert (401, 1002) == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(
    "payload", [b"[" * 2500, b'{"iss":' * 400, b'{"exp":1e999,"iss":"default"}', b'"x"', b"7", b"\xff", b"x" * 9000]
)
def test_a_token_of_nobody_s_making_is_refused(home: House, payload: bytes) -> None:
    """Whatever stands between two dots, nobody gets a 5xx of it."""
    token = ".".join(map(_part, (b'{"alg":"HS256","typ":"JWT"}', payload, b"x" * 32)))
    answer = listed(home, bearer(token[:60000]))

    assert (401, 1002) == (answer.status_code, answer.json()["code"])


# --- how fast -------------------------------------------------------------------------------------------------------
@given(st.integers(1, 40), st.lists(st.floats(0, 20), min_size=1, max_size=60))
@settings(max_examples=25)
def test_no_minute_holds_more_than_twice_the_limit(engine: Engine, limit: int, pauses: list[float]) -> None:
    """A full minute's worth at once, then evenly: never more than limit + seconds x limit / 60 in any span; and who is
    refused and waits as long as he is told is let through.
    """
    name = f"k{time.monotonic_ns()}"
    ApiKeys(engine, b"secret").create(name, MORNING, Terms(per_minute=limit))
    rates, who, at, passed = Rates(engine), Caller(name, per_minute=limit), MORNING, []
    for pause in pauses:
        at += timedelta(seconds=pause)
        spent = rates.spend(who, at)
        assert spent is not None
        if spent.allowed:
            passed.append(at)
            continue
        at += timedelta(seconds=spent.wait)
        again = rates.spend(who, at)
        assert again is not None
        assert again.allowed
        passed.append(at)

    for begin, first in enumerate(passed):
        for end, last in enumerate(passed[begin:], begin):
            assert end - begin + 1 <= limit + (last - first).total_seconds() * limit / 60 + 1e-6


def test_racing_processes_share_one_count(engine: Engine) -> None:
    """Twelve at once for five a minute: five pass."""
    ApiKeys(engine, b"secret").create("app", MORNING, Terms(per_minute=5))
    who = Caller("app", per_minute=5)

    def once() -> bool:
        spent = Rates(engine).spend(who, MORNING)
        return spent is not None and spent.allowed

    assert 5 == sum(race(*[once] * 12))


def test_too_many_requests_are_told_when_to_come_back(home: House) -> None:
    """429: 1302 on Kling's paths, a problem on ours, both with Retry-After and what is left; another key goes on."""
    mine = made(home, per_minute=2)
    first, second, third = (listed(home, mine) for _ in range(3))
    ours = requests.get(f"{home.url}/api/jobs/x", headers=mine, timeout=10)

    assert [200, 200, 429, 429] == [answer.status_code for answer in (first, second, third, ours)]
    assert ['"key";r=1;t=0', '"key";r=0;t='] == [
        first.headers["RateLimit"],
        second.headers["RateLimit"].rstrip("0123456789"),
    ]
    assert (1302, "application/problem+json") == (third.json()["code"], ours.headers["Content-Type"])
    assert all(0 < int(answer.headers["Retry-After"]) <= 30 for answer in (third, ours))
    assert 200 == listed(home, home.headers).status_code
    assert "RateLimit" not in listed(home, home.headers).headers


# --- by hand --------------------------------------------------------------------------------------------------------
def test_a_key_s_life_by_hand(home: House) -> None:
    """Made with terms, shown without itself, changed, replaced, revoked; each key is printed once."""
    made_so = home.typed("keys", "create", "app", "--scopes", "read", "--prefix", "teams/a/", "--slots", "2",
                    "--per-minute", "600", "--expires", "90d")  # fmt: skip
    key = made_so.output.split()[2]
    assert key.startswith("rk_")
    assert made_so.output.split()[-1] == home.typed("keys", "secret", "app").output.strip()
    assert 200 == listed(home, bearer(key)).status_code
    assert 403 == requests.post(home.url + OMNI, json=TEXT, headers=bearer(key), timeout=10).status_code
    assert 0 == home.typed("keys", "change", "app", "--scopes", "submit,read", "--slots", "none").exit_code
    assert 200 == requests.post(home.url + OMNI, json=TEXT, headers=bearer(key), timeout=10).status_code
    turned = home.typed("keys", "rotate", "app", "--overlap", "2h")
    new = turned.output.split()[2]
    assert [200, 200] == [listed(home, bearer(one)).status_code for one in (key, new)]
    shown = home.typed("keys", "list").output
    assert {"submit,read", "teams/a", "600"} <= set(shown.split())
    assert 0 == home.typed("keys", "change", "app", "--slots", "30%").exit_code
    assert "30%" in home.typed("keys", "list").output.split()
    assert not {key, new} & set(shown.split())
    assert 0 == home.typed("keys", "revoke", "app").exit_code
    assert [401, 401] == [listed(home, bearer(one)).status_code for one in (key, new)]


def test_the_secret_of_a_key_that_settings_make_can_be_asked_for(home: House, app: Receiver) -> None:
    """REELHOOK_API_KEY was never made by a command that shows it: its `callback_url` is verified all the same."""
    home.until_end(home.submit(prompt="a cat [fate: fail]", callback_url=app.url))
    home.drain()
    shown = home.typed("keys", "secret", "default")

    assert 0 == shown.exit_code, shown.output
    (secret,) = shown.output.split()
    assert app.bodies
    for headers, body in zip(app.headers, app.raw, strict=True):
        assert verify_webhook(secret, headers, body) == json.loads(body)


@pytest.mark.parametrize(
    "words",
    [
        ("create", "a b"), ("create", "x", "--scopes", "write"), ("create", "x", "--prefix", "../x"),
        ("create", "x", "--prefix", ""), ("create", "x", "--slots", "0"), ("create", "x", "--slots", "101%"),
        ("create", "x", "--slots", "%"), ("create", "x", "--slots", "3%%"), ("create", "x", "--expires", "soon"),
        ("create", "x", "--expires", "0d"), ("change", "default", "--expires", "0s"), ("create", "default"),
        ("change", "nobody"), ("rotate", "nobody"), ("revoke", "nobody"), ("secret", "nobody"),
    ],
)  # fmt: skip
def test_what_is_typed_wrong_is_said_and_changes_nothing(home: House, words: tuple[str, ...]) -> None:
    """An exit code that is not 0, a sentence, no row."""
    answer = home.typed("keys", *words)

    assert answer.exit_code in {1, 2}
    assert "Error: " in answer.output
    with home.services.engine.connect() as connection:
        assert ["default"] == list(connection.execute(select(api_keys.c.name)).scalars())
