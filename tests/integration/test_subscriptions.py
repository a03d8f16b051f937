"""Standing subscriptions over the real door: made, told, signed, rotated, disabled, and what nobody may do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import requests
import resend
from sqlalchemy import insert, update

from tests.fakes import race
from tests.house import House
from tests.receiver import Receiver, receiver
from tests.standard import verified
from webhook.idempotency import SUBSCRIPTIONS
from webhook.subscriptions_api import New
from worker import messages
from worker.jobs.model import State
from worker.services import now
from worker.store.tables import claims, subscriptions


def ask(home: House, method: str, path: str, body: Any = None, key: str | None = None) -> requests.Response:
    """Ask the door about subscriptions."""
    headers = {"Authorization": f"Bearer {key or home.key}"}
    return requests.request(method, f"{home.url}/api{path}", json=body, headers=headers, timeout=30)


def subscribed(home: House, app: Receiver, *types: str, **more: Any) -> dict[str, Any]:
    """A new subscription of an app."""
    answer = ask(home, "POST", "/subscriptions", {"url": app.url, "types": list(types) or ["*"], **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def by_another_library(headers: dict[str, str], body: bytes, secret: str) -> None:
    """Verify as somebody else's code does. Raises `ValueError`."""
    named = {name: headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")}
    resend.Webhooks.verify({"payload": body.decode(), "headers": named, "webhook_secret": secret})  # type: ignore[typeddict-item]  # its headers are such a dict


def test_that_a_job_was_submitted_is_told_without_a_sweep(home: House, app: Receiver) -> None:
    """The door sends the message of what can be told with that of the job."""
    subscribed(home, app, "video.submitted")
    home.submit()
    while home.queue.sent:
        message = home.queue.sent.pop(0)
        if message[0] == messages.ANNOUNCE:
            home.run(message)

    assert ["video.submitted"] == [body["type"] for body in app.bodies]


def test_a_job_s_life_is_told_in_order_and_signed(home: House, app: Receiver) -> None:
    """P3: submitted, running, archived, each once and in order; two verifiers that are not ours take each of them."""
    made = subscribed(home, app)
    job_id = home.submit(external_task_id="mine")

    assert [State.ARCHIVED] == home.until_end(job_id)
    assert ["video.submitted", "video.running", "video.archived"] == [body["type"] for body in app.bodies]
    sequences = [body["data"]["sequence"] for body in app.bodies]
    assert sorted(set(sequences)) == sequences == [int(headers["reelhook-sequence"]) for headers in app.headers]
    assert ["submitted", "processing", "succeed"] == [body["data"]["task_status"] for body in app.bodies]
    assert {(job_id, "mine")} == {
        (body["data"]["task_id"], body["data"]["task_info"]["external_task_id"]) for body in app.bodies
    }
    assert [[], [], [64]] == [[len(file["sha256"]) for file in body["data"]["files"]] for body in app.bodies]
    for headers, body in zip(app.headers, app.raw, strict=True):
        assert verified(headers, body, made["secret"])
        by_another_library(dict(headers), body, made["secret"])


def test_only_what_was_subscribed_to_is_told(home: House, app: Receiver) -> None:
    """A pattern tells of its types and no others; another caller's subscription hears nothing."""
    subscribed(home, app, "video.failed", "job.*")
    other = home.services.keys.create("other", home.clock())
    body = {"url": app.url, "types": ["*"]}
    assert 201 == ask(home, "POST", "/subscriptions", body, other).status_code
    good, bad = home.submit(), home.submit(prompt="a cat [fate: fail]")

    assert [State.ARCHIVED, State.FAILED] == home.until_end(good, bad)
    assert [(bad, "video.failed")] == [(body["data"]["task_id"], body["type"]) for body in app.bodies]


def test_a_public_key_verifies(home: House, app: Receiver) -> None:
    """With v1a no secret leaves us: the public key that is shown verifies what is sent."""
    made = subscribed(home, app, "video.archived", signing="v1a")
    home.until_end(home.submit())

    assert "secret" not in made
    assert verified(app.headers[0], app.raw[0], made["public_key"])
    assert not verified(app.headers[0], app.raw[0] + b" ", made["public_key"])


@pytest.mark.parametrize("how", ["v1", "v1a"])
def test_both_secrets_sign_while_one_replaces_the_other(home: House, app: Receiver, how: str) -> None:
    """During the overlap either secret verifies; afterwards only the new one does."""
    key = {"v1": "secret", "v1a": "public_key"}[how]
    made = subscribed(home, app, signing=how)
    path = f"/subscriptions/{made['id']}"
    rotated = ask(home, "POST", f"{path}/rotate", {"overlap_hours": 1}).json()
    for hours in (0, 2):
        home.clock.ahead = timedelta(hours=hours)
        assert 202 == ask(home, "POST", f"{path}/test").status_code
        home.sweep()
        home.drain()

    now = [float(headers["webhook-timestamp"]) for headers in app.headers]
    seen = [
        [verified(headers, body, one[key], at) for one in (made, rotated)]
        for headers, body, at in zip(app.headers, app.raw, now, strict=True)
    ]
    assert [[True, True], [False, True]] == seen
    assert ["subscription.test"] * 2 == [body["type"] for body in app.bodies]


def test_a_receiver_that_is_gone_is_disabled_and_keeps_its_events(home: House, app: Receiver) -> None:
    """P3: 410 disables; what happens meanwhile is kept; enabling sends all of it, in order, under the first ids."""
    made = subscribed(home, app, "video.*")
    app.answers = [410]
    home.until_end(home.submit())
    shown = ask(home, "GET", f"/subscriptions/{made['id']}").json()
    assert (False, 1) == (shown["enabled"], len(app.bodies))
    assert "410" in shown["disabled_reason"]

    enabled = ask(home, "POST", f"/subscriptions/{made['id']}/enable").json()
    home.sweep()
    home.drain()

    assert (True, 3) == (enabled["enabled"], enabled["sent_now"])
    told = ["video.submitted", "video.submitted", "video.running", "video.archived"]
    assert told == [body["type"] for body in app.bodies]
    assert app.headers[0]["webhook-id"] == app.headers[1]["webhook-id"]


def test_an_earlier_event_holds_the_later_ones_of_its_job_back(home: House, app: Receiver) -> None:
    """P3: while `submitted` fails nothing else of its job is sent; another job's events are."""
    subscribed(home, app)
    app.answers = [400]
    first = home.submit()
    home.sweep()
    home.drain()
    second = home.submit()
    home.until_end(second, hurry=1)

    for job in (first, second):
        numbers = [body["data"]["sequence"] for body in app.bodies if body["data"]["task_id"] == job]
        assert sorted(numbers) == numbers


def test_a_deleted_subscription_hears_nothing(home: House, app: Receiver) -> None:
    """What waited for it is given up; it is shown to nobody."""
    made = subscribed(home, app)
    home.submit()
    assert 204 == ask(home, "DELETE", f"/subscriptions/{made['id']}").status_code
    home.sweep()
    home.drain()

    assert [] == app.bodies
    assert 404 == ask(home, "GET", f"/subscriptions/{made['id']}").status_code


def test_a_changed_url_gets_what_waits(home: House, app: Receiver) -> None:
    """Events that could not be delivered go to the new address."""
    made = subscribed(home, app)
    app.answers = [500] * 9
    home.submit()
    home.clock.stop()  # or the second attempt is due before the first round is over, where that takes seconds
    home.sweep()
    home.drain()
    with receiver() as moved:
        changed = ask(home, "PATCH", f"/subscriptions/{made['id']}", {"url": moved.url, "types": ["video.submitted"]})
        assert 200 == changed.status_code
        home.clock.ahead += timedelta(minutes=5)
        home.sweep()
        home.drain()

        assert 1 == len(app.bodies)
        assert ["video.submitted", "video.running"] == [body["type"] for body in moved.bodies][:2]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://app"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "https://169.254.169.254/latest"}, "url"),
        ({"url": "https://user:word@127.0.0.1/"}, "url"),
        ({"url": "http://127.0.0.1/\0"}, "url"),
        ({"url": "http://127.0.0.1/", "description": "a\0b"}, "description"),
        ({"url": "http://127.0.0.1/", "types": ["video.eaten"]}, "types"),
        ({"url": "http://127.0.0.1/", "types": []}, "types"),
        ({"url": "http://127.0.0.1/", "types": "video.*"}, "types"),
        ({"url": "http://127.0.0.1/", "signing": "v2"}, "signing"),
        ({"url": "http://127.0.0.1/", "colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_is_named_with_its_rule_and_its_mending(home: House, body: dict[str, Any], field: str) -> None:
    """Each fault says field, rule and fix, as problem+json; an address inside is refused at once."""
    answer = ask(home, "POST", "/subscriptions", body)

    assert (400, "application/problem+json") == (answer.status_code, answer.headers["Content-Type"])
    (fault,) = answer.json()["errors"]
    assert field == fault["field"]
    assert fault["rule"]
    assert fault["fix"]
    assert "word" not in answer.text


def test_a_subscription_is_its_owner_s_alone(home: House, app: Receiver) -> None:
    """P8: another key sees and changes nothing; a list never shows a secret."""
    made = subscribed(home, app)
    other = home.services.keys.create("other", home.clock())
    path = f"/subscriptions/{made['id']}"
    verbs = [("GET", path), ("PATCH", path), ("DELETE", path), *(("POST", f"{path}/{verb}") for verb in VERBS)]

    assert [404] * len(verbs) == [ask(home, method, where, {}, other).status_code for method, where in verbs]
    assert 401 == ask(home, "GET", "/subscriptions", key="rk_wrong").status_code
    assert [] == ask(home, "GET", "/subscriptions", key=other).json()["subscriptions"]
    assert made["secret"] not in ask(home, "GET", "/subscriptions").text + ask(home, "GET", path).text


VERBS = ("disable", "enable", "rotate", "test")


# --- asked for twice ------------------------------------------------------------------------------------------------
def once(home: House, body: Any, key: str = "k1") -> requests.Response:
    """Subscribe under an Idempotency-Key."""
    headers = {**home.headers, "Idempotency-Key": key}
    return requests.post(f"{home.url}/api/subscriptions", json=body, headers=headers, timeout=30)


def test_the_same_request_under_the_same_key_is_the_same_subscription(home: House, app: Receiver) -> None:
    """Answered again as it was, secret and all; another body is 422, another key's or caller's another subscription."""
    body = {"url": app.url, "types": ["video.*"]}
    first, second = once(home, body), once(home, {**body, "description": ""})

    assert (201, 201, first.json()) == (first.status_code, second.status_code, second.json())
    assert first.json()["secret"].startswith("whsec_")
    other = once(home, {**body, "types": ["*"]})
    assert (422, "application/problem+json") == (other.status_code, other.headers["Content-Type"])
    assert first.json()["id"] != once(home, body, "k2").json()["id"]
    assert 2 == len(ask(home, "GET", "/subscriptions").json()["subscriptions"])


@pytest.mark.parametrize("turned", [True, False])
def test_a_secret_is_shown_again_for_a_day_at_most(home: House, app: Receiver, *, turned: bool) -> None:
    """Once it was replaced, or a day has passed, the same request still has the same answer, but for the secret."""
    body = {"url": app.url}
    first = once(home, body).json()
    if turned:
        ask(home, "POST", f"/subscriptions/{first['id']}/rotate", {"overlap_hours": 0})
    else:
        with home.services.engine.begin() as connection:
            connection.execute(update(subscriptions).values(created_at=now() - timedelta(hours=25)))
    again = once(home, body)

    assert (201, first["id"]) == (again.status_code, again.json()["id"])
    assert "secret" not in again.json()


def test_eight_equal_requests_at_once_make_one_subscription(home: House, app: Receiver) -> None:
    """Each is answered with that one, or told to ask again."""
    answers = race(*[lambda: once(home, {"url": app.url})] * 8)

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert 1 == len({answer.json()["secret"] for answer in answers if answer.status_code == 201})
    assert 1 == len(ask(home, "GET", "/subscriptions").json()["subscriptions"])


def test_a_refused_subscription_gives_its_key_back(home: House, app: Receiver) -> None:
    """An address that nobody may be told at is refused; mended, the request may be sent under the same key."""
    refused = once(home, {"url": "http://10.0.0.1/"})

    assert [400, 201] == [refused.status_code, once(home, {"url": app.url}).status_code]


def test_a_key_that_is_looked_at_is_told(home: House, app: Receiver) -> None:
    """While another process looks at the same request it is 409 with Retry-After, at another one 422."""
    body = {"url": app.url}
    made = once(home, body).json()
    ask(home, "DELETE", f"/subscriptions/{made['id']}")
    with home.services.engine.begin() as connection:
        values = {"caller": "default", "key": f"{SUBSCRIPTIONS}k1", "until": now() + timedelta(seconds=50)}
        connection.execute(insert(claims).values(**values, fingerprint=b"another"))
    assert 422 == once(home, body).status_code
    with home.services.engine.begin() as connection:
        connection.execute(update(claims).values(fingerprint=New.model_validate(body).fingerprint))
    held = once(home, body)
    assert (409, "2") == (held.status_code, held.headers["Retry-After"])
