"""What is sent to receivers is what the API's description says of it."""

from __future__ import annotations

from typing import Any

import requests

from tests.house import House
from tests.receiver import receiver
from webhook.openapi.told import Callback, Event, Trial
from worker.jobs.events import TYPES
from worker.jobs.model import State


def described(home: House) -> dict[str, Any]:
    """What the description says of what is sent, by its kind."""
    said: dict[str, Any] = home.get("/openapi.json").json()["webhooks"]
    return {kind: verbs["post"] for kind, verbs in said.items()}


def test_what_receivers_are_sent_fits_the_document(home: House) -> None:
    """Each event of a life that ends well and of one that does not, and their callbacks: every field, every header."""
    with receiver() as hook, receiver() as flat:
        order = {"url": hook.url, "types": ["*"]}
        requests.post(f"{home.url}/api/subscriptions", json=order, headers=home.headers, timeout=30).raise_for_status()
        ends = home.until_end(
            home.submit(callback_url=flat.url), home.submit(prompt="a cat [fate: fail]", callback_url=flat.url)
        )
        home.drain()

    assert [State.ARCHIVED, State.FAILED] == ends
    heard = [Event.model_validate_json(raw) for raw in hook.raw]
    assert {"video.submitted", "video.archived", "video.failed"} <= {one.type for one in heard} <= set(TYPES)
    assert {"archived", "failed"} == {Callback.model_validate_json(raw).reelhook.state for raw in flat.raw}
    (film,) = next(one.data.files for one in heard if one.type == "video.archived")
    assert film.poster_url
    assert film.sheet_url
    names = {part["name"] for part in described(home)["event"]["parameters"]}
    assert all(names <= {name.lower() for name in one} for one in [*hook.headers, *flat.headers])


def test_a_test_event_fits_the_document(home: House) -> None:
    """A receiver that takes nothing but what is written there takes it."""
    with receiver() as hook:
        order = {"url": hook.url, "types": ["*"]}
        made = requests.post(f"{home.url}/api/subscriptions", json=order, headers=home.headers, timeout=30).json()
        requests.post(f"{home.url}/api/subscriptions/{made['id']}/test", headers=home.headers, timeout=30)
        home.drain()

    (raw,) = hook.raw
    assert made["id"] == Trial.model_validate_json(raw).data.subscription
    trial = described(home)["test"]
    assert trial["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Trial")
    assert {part["name"] for part in trial["parameters"]} <= {name.lower() for name in hook.headers[0]}
