"""Standing subscriptions: a caller's own orders to be told, made and minded."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field, field_validator

from webhook import forms, headers, idempotency
from webhook.deliveries_api import AT_ONCE
from webhook.documented import Operation, documented
from webhook.forms import Form
from webhook.problems import Problem
from webhook.shapes import (
    EventTypes,
    SubscriptionEnabled,
    SubscriptionMade,
    Subscriptions,
    SubscriptionShown,
    SubscriptionTold,
    TestSent,
)
from webhook.wiring import Door, door
from worker import messages
from worker.jobs import events
from worker.jobs.signing import Signing
from worker.store.history import Span
from worker.store.subscriptions import Once, OtherRequest, Subscription

api = Blueprint("subscriptions", __name__)

#: Of one caller: each hears every event, so more of them cost more at each.
_MOST = 50
_URL = "a public https:// URL that answers POST with 2xx, such as https://app.example/hook"
_TYPES = "one or more of " + ", ".join([*events.TYPES, "video.*", "*"])


class New(Form):
    """What a new subscription is made from."""

    url: str = Field(description=_URL, max_length=2000)
    types: list[str] = Field(["*"], description=_TYPES, min_length=1, max_length=20)
    signing: Signing = Field(Signing.V1, description="v1 (shared secret) or v1a (ed25519: you get a public key)")
    description: str = Field("", description="at most 200 characters for your own use", max_length=200)

    @field_validator("types")
    @classmethod
    def known(cls, value: list[str]) -> list[str]:
        """Each of them is heard of some day."""
        for one in value:
            if fault := events.fault(one):
                raise ValueError(f"{one[:60]!r} {fault}")
        return list(dict.fromkeys(value))

    @property
    def fingerprint(self) -> bytes:
        """What tells this request from another one under the same key."""
        return sha256(self.model_dump_json().encode()).digest()


class Repeatable(BaseModel):
    """Headers of a request that may be sent again."""

    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        max_length=255,
        description="the same request under the same key is answered as the first one was",
    )


class Change(Form):
    """What may be changed of one; what is left out stays."""

    url: str | None = Field(None, description=_URL, max_length=2000)
    types: list[str] | None = Field(None, description=_TYPES, min_length=1, max_length=20)
    description: str | None = Field(None, description="at most 200 characters for your own use", max_length=200)

    @field_validator("types")
    @classmethod
    def known(cls, value: list[str] | None) -> list[str] | None:
        """As `New` has it."""
        return value if value is None else New.known(value)


class Past(Form):
    """A part of what happened."""

    since: forms.Moment = Field(description=forms.MOMENT)
    until: forms.Moment | None = Field(None, description=f"{forms.MOMENT}; now unless said")
    types: list[str] | None = Field(None, description=f"{_TYPES}; its own unless said", min_length=1, max_length=20)
    after: str = Field("0", pattern=r"^\d{1,18}$", description="the `next` of the part before")
    limit: int = Field(1000, ge=1, le=1000, description="1 to 1000 events at a time")

    @field_validator("types")
    @classmethod
    def known(cls, value: list[str] | None) -> list[str] | None:
        """As `New` has it."""
        return value if value is None else New.known(value)


class Rotate(Form):
    """How a secret is replaced."""

    overlap_hours: float = Field(
        24, ge=0, le=24 * 30, description="hours for which both secrets sign, 0 to 720; 24 unless said"
    )


@api.get("/event-types")
@documented(Operation("What can be subscribed to", "subscriptions", EventTypes))
def types() -> ResponseReturnValue:
    """What can be subscribed to, and why a job wants a person."""
    forms.asker(door())
    return jsonify({"types": dict(events.TYPES), "reasons": dict(events.REASONS)})


@api.post("/subscriptions")
@documented(
    Operation("Subscribe", "subscriptions", SubscriptionMade, 201, body=New, headers=Repeatable, problems=(409, 422))
)
def create() -> ResponseReturnValue:
    """A new one. Its secret is shown in this answer and never again, but for a day to the same request under the same
    Idempotency-Key.
    """
    here = door()
    who = forms.asker(here)
    key, asked = headers.idempotency_key(request), forms.body(New)
    once = Once(key, asked.fingerprint) if key else None
    try:
        made, secret = (once and here.subscriptions.made_before(who, once, here.clock())) or _made(
            here, who, asked, once
        )
    except OtherRequest:
        raise idempotency.other_request() from None
    return jsonify({**_shown(made), **_secret(made, secret)}), 201


def _made(here: Door, who: str, asked: New, once: Once | None) -> tuple[Subscription, str | None]:
    key, fingerprint = (idempotency.SUBSCRIPTIONS + once.key, once.fingerprint) if once else (None, b"")
    with idempotency.claimed(here, who, key, fingerprint):
        _check_url(here, asked.url)
        if len(here.subscriptions.of(who)) >= _MOST:
            raise Problem(409, "too many subscriptions", f"a key has at most {_MOST}; delete one, or change one")
        return here.subscriptions.create(
            who, asked.url, asked.types, asked.signing, here.clock(), description=asked.description, once=once
        )


@api.get("/subscriptions")
@documented(Operation("List your subscriptions", "subscriptions", Subscriptions))
def listed() -> ResponseReturnValue:
    """The caller's own, oldest first."""
    here = door()
    return jsonify({"subscriptions": [_shown(one) for one in here.subscriptions.of(forms.asker(here))]})


@api.get("/subscriptions/<name>")
@documented(Operation("Look at a subscription", "subscriptions", SubscriptionShown, problems=(404,)))
def one(name: str) -> ResponseReturnValue:
    """One of them."""
    here = door()
    return jsonify(_shown(_mine(here, name)))


@api.patch("/subscriptions/<name>")
@documented(Operation("Change a subscription", "subscriptions", SubscriptionShown, body=Change, problems=(404,)))
def change(name: str) -> ResponseReturnValue:
    """Change where or of what it is told. What waits goes to the new URL."""
    here = door()
    mine = _mine(here, name)
    asked = forms.body(Change)
    if asked.url is not None:
        _check_url(here, asked.url)
    values = {field: value for field, value in asked.model_dump().items() if value is not None}
    if values:
        here.subscriptions.change(mine.id, **values)
    return _now(here, mine)


@api.delete("/subscriptions/<name>")
@documented(Operation("Delete a subscription", "subscriptions", status=204, problems=(404,)))
def delete(name: str) -> ResponseReturnValue:
    """Forget it, and what waits for it."""
    here = door()
    here.subscriptions.delete(_mine(here, name).id)
    return "", 204


@api.post("/subscriptions/<name>/disable")
@documented(Operation("Disable a subscription", "subscriptions", SubscriptionShown, problems=(404,)))
def disable(name: str) -> ResponseReturnValue:
    """Tell it nothing for now: its events are kept."""
    here = door()
    mine = _mine(here, name)
    here.subscriptions.disable(mine.id, "disabled by its owner", here.clock())
    return _now(here, mine)


@api.post("/subscriptions/<name>/enable")
@documented(Operation("Enable a subscription", "subscriptions", SubscriptionEnabled, problems=(404,)))
def enable(name: str) -> ResponseReturnValue:
    """Let it hear again: what was kept is sent."""
    here = door()
    mine = _mine(here, name)
    return _now(here, mine, sent_now=here.subscriptions.enable(mine.id, here.clock()))


@api.post("/subscriptions/<name>/rotate")
@documented(Operation("Rotate the secret", "subscriptions", SubscriptionMade, body=Rotate, problems=(404,)))
def rotate(name: str) -> ResponseReturnValue:
    """A new secret, shown in this answer and never again; both sign for a while."""
    here = door()
    mine = _mine(here, name)
    overlap = timedelta(hours=forms.body(Rotate).overlap_hours)
    secret = here.subscriptions.rotate(mine.id, here.clock(), overlap)
    return _now(here, mine, **_secret(mine, secret))


@api.post("/subscriptions/<name>/test")
@documented(Operation("Send a test event", "subscriptions", TestSent, 202, problems=(404,)))
def test(name: str) -> ResponseReturnValue:
    """Send it a test event, once, also while it is disabled. What becomes of it shows in its delivery."""
    here = door()
    delivery = here.subscriptions.test(_mine(here, name), here.clock())
    messages.send(here.queue, [messages.for_delivery(delivery)])
    return jsonify({"delivery": delivery}), 202


@api.post("/subscriptions/<name>/replay")
@documented(Operation("Send it what it never got", "subscriptions", SubscriptionTold, 202, body=Past, problems=(404,)))
def replay(name: str) -> ResponseReturnValue:
    """Send it what happened before it was made, and what was given up: each event of its key's jobs in a range of time
    that it has not got, oldest first, as far as timelines are kept. A part at a time; asking twice sends nothing twice.
    """
    here = door()
    mine, asked, now = _mine(here, name), forms.body(Past), here.clock()
    types = asked.types or mine.types
    span = Span(asked.since, asked.until or now, types, int(asked.after), asked.limit)
    told = here.history.tell(mine.id, span, now)
    messages.send(here.queue, map(messages.for_delivery, told.pending[:AT_ONCE]))
    return jsonify({"replayed": told.count, "next": told.next and str(told.next)}), 202


def _mine(here: Door, name: str) -> Subscription:
    who = forms.asker(here)
    found = None if "\0" in name else here.subscriptions.get(name, who)
    if found is None:
        raise Problem(404, "no such subscription", "GET /api/subscriptions lists yours")
    return found


def _now(here: Door, before: Subscription, **more: Any) -> ResponseReturnValue:
    """How it is after a change."""
    return jsonify({**_shown(here.subscriptions.get(before.id) or before), **more})


def _check_url(here: Door, url: str) -> None:
    refusal = here.guard.refusal_of(url)
    if refusal is not None:
        fault = {"field": "url", "rule": refusal, "fix": _URL}
        raise Problem(400, "the request body is not right", f"url {refusal}", errors=[fault])


def _secret(subscription: Subscription, secret: str | None) -> dict[str, str]:
    """What the receiver verifies with; a private key stays with us, and what was shown long ago is not shown again."""
    return {} if subscription.signing is Signing.V1A or secret is None else {"secret": secret}


def _shown(one: Subscription) -> dict[str, Any]:
    return {
        "id": one.id,
        "url": one.url,
        "types": list(one.types),
        "description": one.description,
        "signing": one.signing,
        "public_key": one.public_key,
        "enabled": one.disabled_at is None,
        "disabled_at": one.disabled_at and one.disabled_at.isoformat(),
        "disabled_reason": one.disabled_reason,
        "both_secrets_until": one.old_until and one.old_until.isoformat(),
        "created_at": one.created_at.isoformat(),
    }
