"""What comes through the door, and what is turned away: in Kling's words on Kling's paths, and never with a 5xx."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select
from standardwebhooks.webhooks import Webhook

from infra.emulator import Config, Emulator
from infra.stack.servers import Servers
from tests.house import OMNI, TEXT, House, house
from worker.jobs.tokens import callback_token
from worker.store.tables import callbacks, events, jobs, payloads

LIMIT = 20_000


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """A Kling that nobody asks here."""
    with Emulator(Config(log=False)) as running:
        yield running


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house whose door takes bodies of 20 kB."""
    limits = {"MAX_BODY_BYTES": str(LIMIT), "MAX_CALLBACK_BYTES": "4000"}
    with house(servers.addresses, engine, emulator, **limits) as opened:
        yield opened


def rows(home: House) -> list[int]:
    """How many rows there are of all that a request could leave behind."""
    with home.services.engine.connect() as connection:
        tables = (jobs, payloads, events, callbacks)
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


def refused(answer: requests.Response, status: int, code: int) -> str:
    """The message of a refusal in Kling's envelope."""
    shown = answer.json()
    assert (status, code) == (answer.status_code, shown["code"]), answer.text
    assert {"code", "message", "request_id"} == set(shown)
    return str(shown["message"])


def test_a_create_is_answered_as_kling_answers(home: House) -> None:
    """Envelope, `submitted`, equal times in milliseconds, the external id echoed, one job row."""
    shown = home.post({**TEXT, "external_task_id": "mine"}).json()
    data = shown["data"]

    assert (0, "SUCCEED") == (shown["code"], shown["message"])
    assert {"task_id", "task_status", "task_info", "created_at", "updated_at"} == set(data)
    assert ("submitted", {"external_task_id": "mine"}) == (data["task_status"], data["task_info"])
    assert data["created_at"] == data["updated_at"] > 1_700_000_000_000
    assert [1, 1, 1, 0] == rows(home)


def test_a_key_of_one_job_with_the_id_of_another_is_neither(home: House) -> None:
    """An Idempotency-Key stands for one request: with another job's external id, and its whole body, it is refused."""

    def ask(key: str | None, **changes: str) -> requests.Response:
        headers = {**home.headers, **({"Idempotency-Key": key} if key else {})}
        return requests.post(home.url + OMNI, json={**TEXT, **changes}, headers=headers, timeout=30)

    first = ask("K")
    ask(None, external_task_id="mine")

    assert "Idempotency-Key" in refused(ask("K", external_task_id="mine"), 422, 1201)
    assert first.json()["data"] == ask("K").json()["data"]
    assert [2, 2, 2, 0] == rows(home)


@pytest.mark.parametrize("path", ["/v1/videos/omni-video", "/kling/v1/videos/omni-video", "/v1/videos/omni-video/"])
def test_both_prefixes_and_a_slash_lead_to_the_same_place(home: House, path: str) -> None:
    """The seeds' own paths, Kling's own, and the trailing slash of its samples are one resource."""
    job_id = home.post(TEXT, path).json()["data"]["task_id"]

    assert home.get(f"/v1/videos/omni-video/{job_id}").json()["data"]["task_id"] == job_id


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 1001), ("", 1001), ("Bearer", 1002), ("Bearer ", 1002), ("Bearer  two-spaces", 1002),
        ("Basic abc", 1002), ("Bearer rk_wrong", 1002), ("Bearer \xff", 1002), ("Bearer " + "x" * 5000, 1002),
    ],
)  # fmt: skip
def test_a_wrong_key_is_said_in_kling_s_codes(home: House, header: str | None, code: int) -> None:
    """1001 for none, 1002 for a wrong one, before anything else is looked at."""
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for send in (requests.post, requests.get):
        refused(send(home.url + OMNI, headers=headers, data=b"{", timeout=10), 401, code)

    assert [0, 0, 0, 0] == rows(home)


def signed(home: House, key: str = "", **claims: Any) -> requests.Response:
    """Ask as Kling's own clients do: with a token of their signing."""
    now = int(time.time())
    token = jwt.encode({"iss": "default", "exp": now + 1800, "nbf": now - 5, **claims}, key or home.key, "HS256")
    return requests.get(home.url + OMNI, headers={"Authorization": f"Bearer {token}"}, timeout=10)


def test_a_client_that_signs_as_kling_s_own_do_is_let_in(home: House) -> None:
    """AccessKey and SecretKey, as JWT with iss, exp and nbf: the key's name and the key."""
    assert signed(home).json()["code"] == 0


@pytest.mark.parametrize(
    ("claims", "key", "code"),
    [
        ({"exp": 1}, "", 1004),
        ({"nbf": 2**33}, "", 1003),
        ({"iss": "nobody"}, "", 1002),
        ({"iss": "a\0b"}, "", 1002),
        ({"exp": "x"}, "", 1002),
        ({}, "another-key-of-at-least-32-characters", 1002),
    ],
)
def test_a_token_that_does_not_hold_is_said_in_kling_s_codes(
    home: House, claims: dict[str, Any], key: str, code: int
) -> None:
    """1003 too early, 1004 too late, 1002 for a wrong signer or signature."""
    refused(signed(home, key, **claims), 401, code)


@pytest.mark.parametrize(
    "token", ["a.b.c", "..", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJkZWZhdWx0IiwiZXhwIjo5OTk5OTk5OTk5fQ."]
)
def test_a_token_that_is_none_is_refused(home: House, token: str) -> None:
    """Noise with two dots, and a token that claims to need no signature."""
    answer = requests.get(home.url + OMNI, headers={"Authorization": f"Bearer {token}"}, timeout=10)

    refused(answer, 401, 1002)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"a":' * 3000, b'{"prompt": NaN}'])
def test_a_malformed_body_is_refused_and_leaves_nothing(home: House, body: bytes) -> None:
    """1201 with what was found, and no row."""
    refused(requests.post(home.url + OMNI, data=body, headers=home.headers, timeout=10), 400, 1201)

    assert [0, 0, 0, 0] == rows(home)


def test_every_fault_of_a_request_is_named_at_once(home: House) -> None:
    """One answer names each wrong field, so that one correction is enough."""
    body = {"model_name": "kling-v9", "mode": "best", "duration": "99", "aspect_ratio": "5:4", "prompt": ""}
    message = refused(home.post(body), 400, 1201)

    assert [] == [name for name in ("model_name", "mode", "duration", "aspect_ratio", "prompt") if name not in message]
    assert [0, 0, 0, 0] == rows(home)


def test_an_image_that_is_none_is_refused(home: House) -> None:
    """Base64 that is no base64 is refused with the field's name before it costs anything."""
    message = refused(home.post({"image": "not base64!", "prompt": "x"}, "/v1/videos/image2video"), 400, 1201)

    assert "image" in message


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(home: House, *, chunked: bool) -> None:
    """413, whether the body says how long it is or comes in chunks; just below the limit it is read whole."""
    body = json.dumps({**TEXT, "prompt": "x" * LIMIT}).encode()
    data: Any = iter([body[:100], body[100:]]) if chunked else body
    refused(requests.post(home.url + OMNI, data=data, headers=home.headers, timeout=10), 413, 1200)

    assert [0, 0, 0, 0] == rows(home)


def test_unknown_things_are_1203(home: House) -> None:
    """An unknown path, an unknown task, and somebody else's family: 404 and 1203."""
    job_id = home.submit()
    for path in ("/v1/videos/nothing", "/v1/videos/omni-video/nobody", f"/v1/videos/image2video/{job_id}", "/v1/x"):
        refused(home.get(path), 404, 1203)
    refused(home.post({}, "/v1/videos/nothing"), 404, 1203)


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "PATCH"])
def test_a_wrong_verb_is_1202(home: House, verb: str) -> None:
    """404 and 1202, as Kling answers it."""
    refused(requests.request(verb, home.url + OMNI, headers=home.headers, timeout=10), 404, 1202)


@pytest.mark.parametrize("query", ["pageNum=0", "pageNum=1001", "pageSize=0", "pageSize=501", "pageNum=x", "pageSize="])
def test_a_page_beyond_the_limits_is_refused(home: House, query: str) -> None:
    """PageNum 1 to 1000, pageSize 1 to 500; the message names the one that is wrong."""
    assert query.partition("=")[0] in refused(home.get(f"{OMNI}?{query}"), 400, 1201)


def test_the_list_is_paged_newest_first(home: House) -> None:
    """Pages follow each other without overlap; past the last one the list is empty."""
    made = [home.submit(external_task_id=f"n{number}") for number in range(5)]
    pages = [home.get(f"{OMNI}?pageNum={page}&pageSize=2").json()["data"] for page in (1, 2, 3, 4)]

    assert made[::-1] == [task["task_id"] for page in pages for task in page]
    assert [2, 2, 1, 0] == [len(page) for page in pages]


def test_an_external_id_stands_for_one_request(home: House) -> None:
    """P4: sent again it is the same job; with another body it is an error that names the field."""
    first = home.submit(external_task_id="mine")
    again = home.submit(external_task_id="mine")
    message = refused(home.post({**TEXT, "external_task_id": "mine", "prompt": "a dog"}), 400, 1201)

    assert first == again
    assert "external_task_id" in message
    assert [1, 1, 1, 0] == rows(home)


@pytest.mark.parametrize(
    "url", ["ftp://x", "js:1", "http://", "/hook", "http://[x", "https://u:p@h/", "http://a..b/", 7]
)
def test_a_callback_url_that_is_none_is_refused(home: House, url: object) -> None:
    """A receiver that could never be reached is refused at the door, by the field's name."""
    assert "callback_url" in refused(home.post({**TEXT, "callback_url": url}), 400, 1201)


def test_a_callback_url_that_the_guard_will_refuse_is_refused(
    servers: Servers, engine: Engine, emulator: Emulator
) -> None:
    """Plain http and an address inside are heard of at once, with the rule and what helps; so is a wrong port."""
    with house(servers.addresses, engine, emulator, GUARD_ALLOW_CIDRS="") as strict:
        for url, rule in {
            "http://app.example/hook": "plain http is not allowed",
            "https://10.1.2.3/hook": "the address is not a public one",
            "https://localhost/hook": "the address is not a public one",
            "https://app.example:22/": "port 22 is not allowed",
        }.items():
            message = refused(strict.post({**TEXT, "callback_url": url}), 400, 1201)
            assert "callback_url must be an https:// URL of a public host" in message
            assert rule in message
            assert "GUARD_ALLOW_CIDRS" in message
        assert [0, 0, 0, 0] == rows(strict)
        strict.message(family="videos/omni-video", request={**TEXT, "callback_url": "http://app.example/"})
        assert [0, 0, 0, 0] == rows(strict)
        assert 200 == strict.post({**TEXT, "callback_url": "https://app.example/hook"}).status_code


def test_a_callback_url_that_the_settings_allow_is_taken(home: House) -> None:
    """A network that is allowed may be named, and a name may lead there, by http too; another one may not."""
    for url in ("http://127.0.0.1:9/", "http://app.example:9/"):
        assert 200 == home.post({**TEXT, "callback_url": url}).status_code
    refused(home.post({**TEXT, "callback_url": "http://10.0.0.1/"}), 400, 1201)


@pytest.mark.parametrize("external", ["a\0b", "\ud800", "x" * 256, "a\nb"])
def test_an_external_id_that_can_not_be_kept_is_refused(home: House, external: str) -> None:
    """Control characters, half characters and endless ids are refused by the field's name, with no 5xx."""
    assert "external_task_id" in refused(home.post({**TEXT, "external_task_id": external}), 400, 1201)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
fields = st.sampled_from([*TEXT, "image_list", "callback_url", "external_task_id", "sound", "x"])


@given(st.dictionaries(fields, values))
@settings(max_examples=60)
def test_no_body_makes_the_door_fail(home: House, body: dict[str, Any]) -> None:
    """Whatever JSON comes, the answer is a job or a refusal in Kling's envelope."""
    answer = home.post({**TEXT, **body})

    assert answer.status_code in {200, 400}
    assert answer.json()["code"] in {0, 1201}


# --- callbacks ------------------------------------------------------------------------------------------------------
def callback(home: House, job_id: str, body: Any, token: str | None = None) -> requests.Response:
    """Call back as Kling does."""
    url = f"{home.url}/callbacks/kling/{job_id}/{token or callback_token(home.settings.secret, job_id)}"
    return requests.post(url, data=body if isinstance(body, bytes) else json.dumps(body), timeout=10)


HINT = {"task_id": "1", "task_status": "succeed", "task_result": {"videos": [{"url": "https://evil.example/x.mp4"}]}}


def test_a_callback_is_stored_once_and_moves_nothing(home: House) -> None:
    """P5, P6: answered 2xx it is in the inbox, once however often it comes; on its word alone no state moves."""
    job_id = home.submit()
    answers = [callback(home, job_id, HINT).status_code for _ in range(3)]

    assert [204, 204, 204] == answers
    assert 1 == rows(home)[3]
    assert home.get(f"/api/jobs/{job_id}").json()["state"] == "accepted"
    heard = home.get(f"/api/jobs/{job_id}/timeline").json()["callbacks"]
    assert [("understood", "succeed", 2)] == [(one["verdict"], one["status"], one["repeats"]) for one in heard]


@pytest.mark.parametrize("token", ["0" * 32, "x", "\u00e4" * 32])
def test_a_forged_callback_is_turned_away(home: House, token: str) -> None:
    """A wrong token and an unknown job look the same from outside, and leave nothing."""
    job_id = home.submit()

    assert callback(home, job_id, HINT, token).status_code == 404
    assert callback(home, "nobody", HINT).status_code == 404
    assert 0 == rows(home)[3]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\x00", b"{}", b'{"task_id": NaN}', b'{"a":' * 600])
def test_a_malformed_callback_is_kept_and_answered_400(home: House, body: bytes) -> None:
    """It proved its token, so it is kept with its verdict for a person to read; its sender is told."""
    job_id = home.submit()

    assert callback(home, job_id, body).status_code == 400
    assert 1 == rows(home)[3]


def test_kling_s_signature_is_held_against_its_secrets(servers: Servers, engine: Engine, emulator: Emulator) -> None:
    """With secrets set a signature must hold by one of them; a wrong or old one is kept and refused."""
    old, new = "whsec_b2xkLW9sZC1vbGQtb2xk", "whsec_bmV3LW5ldy1uZXctbmV3"
    with house(servers.addresses, engine, emulator, KLING_WEBHOOK_SECRETS=f"{old}, {new}") as home:
        job_id = home.submit()

        def call(secret: str, at: datetime, task: str) -> int:
            body = json.dumps({**HINT, "task_id": task})
            headers = {
                "webhook-id": "1",
                "webhook-timestamp": str(int(at.timestamp())),
                "webhook-signature": Webhook(secret).sign("1", at, body),
            }
            url = f"{home.url}/callbacks/kling/{job_id}/{callback_token(home.settings.secret, job_id)}"
            return requests.post(url, data=body, headers=headers, timeout=10).status_code

        now = datetime.now(UTC)
        wrong = "whsec_d3Jvbmctd3Jvbmctd3Jvbmc="
        answers = [
            call(old, now, "1"),
            call(new, now, "2"),
            call(wrong, now, "3"),
            call(old, now - timedelta(hours=1), "4"),
        ]

        assert [204, 204, 401, 401] == answers
        assert callback(home, job_id, HINT).status_code == 204  # the first one again, unsigned
        assert 4 == rows(home)[3]


def test_an_oversized_callback_is_refused(home: House) -> None:
    """413 with and without a length, and no row."""
    job_id = home.submit()
    body = json.dumps({**HINT, "x": "y" * 5000}).encode()
    url = f"{home.url}/callbacks/kling/{job_id}/{callback_token(home.settings.secret, job_id)}"

    assert callback(home, job_id, body).status_code == 413
    assert requests.post(url, data=iter([body]), timeout=10).status_code == 413
    assert 0 == rows(home)[3]


def test_looking_at_a_callback_address_does_nothing(home: House) -> None:
    """GET and HEAD by scanners and previews are 405, without a trace."""
    job_id = home.submit()
    url = f"{home.url}/callbacks/kling/{job_id}/{callback_token(home.settings.secret, job_id)}"

    assert [405, 405] == [requests.get(url, timeout=10).status_code, requests.head(url, timeout=10).status_code]
    assert 0 == rows(home)[3]


# --- the rest -------------------------------------------------------------------------------------------------------
def test_health_and_readiness(home: House) -> None:
    """The process answers, and the database is at the newest step."""
    assert [200, 200] == [home.get(path).status_code for path in ("/healthz", "/readyz")]


def test_our_own_routes_say_problems(home: House) -> None:
    """problem+json: 401 without a key, 404 for a job that is not the caller's, 404 for no route."""
    bare = requests.get(f"{home.url}/api/jobs/x", timeout=10)
    unknown, nowhere = home.get("/api/jobs/x"), home.get("/nowhere")

    assert [401, 404, 404] == [answer.status_code for answer in (bare, unknown, nowhere)]
    assert {"application/problem+json"} == {a.headers["Content-Type"] for a in (bare, unknown, nowhere)}


def test_bytes_that_are_no_http_harm_nobody(home: House) -> None:
    """Noise on the port is answered or dropped, and the door stays open."""
    parts = urlsplit(home.url)
    for noise in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=5) as connection:
            connection.sendall(noise)
            connection.recv(1000)

    assert home.get("/healthz").status_code == 200
