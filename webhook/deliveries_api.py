"""What was told to whom, what became of each attempt, and telling it again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from webhook import forms
from webhook.documented import Operation, documented
from webhook.forms import Form
from webhook.problems import Problem
from webhook.shapes import Deliveries, DeliveryTried, Replayed
from webhook.wiring import Door, door
from worker import messages
from worker.store.deliveries import Which

api = Blueprint("deliveries", __name__)

#: Deliveries whose message leaves at once; a sweep sends the others.
AT_ONCE = 100
_State = Literal["pending", "held", "delivered", "given_up"]


class Range(Form):
    """Deliveries of a time; one bound is enough."""

    since: forms.Moment | None = Field(None, description=forms.MOMENT)
    until: forms.Moment | None = Field(None, description=forms.MOMENT)
    subscription: str | None = Field(None, description="the id of a subscription", max_length=100)
    state: _State | None = Field(None, description="pending, held, delivered or given_up")


class Page(Range):
    """A page of them."""

    job: str | None = Field(None, description="our id of a job, or yours", max_length=300)
    limit: int = Field(50, ge=1, le=200, description="1 to 200")
    before: str | None = Field(None, description="the `next` of the page before", max_length=200)


@api.get("/deliveries")
@documented(Operation("List deliveries", "deliveries", Deliveries, query=Page, problems=(404,)))
def listed() -> ResponseReturnValue:
    """The newest first; `next` leads on."""
    here = door()
    who = forms.asker(here)
    asked = forms.query(Page)
    rows = here.deliveries.page(_which(here, who, asked, asked.job), limit=asked.limit, before=_place(asked.before))
    follows = f"{rows[-1]['at'].isoformat()},{rows[-1]['id']}" if len(rows) == asked.limit else None
    return jsonify({"deliveries": [_plain(row) for row in rows], "next": follows})


@api.get("/deliveries/<name>")
@documented(Operation("Look at a delivery", "deliveries", DeliveryTried, problems=(404,)))
def one(name: str) -> ResponseReturnValue:
    """One delivery with every attempt: when, how long, what status, how the answer began."""
    here = door()
    found = None if "\0" in name else here.deliveries.get(forms.asker(here), name)
    if found is None:
        raise Problem(404, "no such delivery", "GET /api/deliveries lists yours")
    return jsonify(_plain(found))


@api.post("/deliveries/<name>/replay")
@documented(Operation("Send one again", "deliveries", Replayed, 202, problems=(404,)))
def again(name: str) -> ResponseReturnValue:
    """Send it again, under the same webhook-id."""
    here = door()
    who = forms.asker(here)
    if "\0" in name or here.deliveries.get(who, name) is None:
        raise Problem(404, "no such delivery", "GET /api/deliveries lists yours")
    return _replayed(here, Which(who, id=name))


@api.post("/jobs/<name>/replay")
@documented(
    Operation(
        "Send all of a job again",
        "deliveries",
        Replayed,
        202,
        path=forms.NAMED,
        problems=(404,),
    )
)
def of_a_job(name: str) -> ResponseReturnValue:
    """Send everything again that was told of a job."""
    here = door()
    who = forms.asker(here)
    return _replayed(here, Which(who, job=forms.job_of(here, who, name).id))


@api.post("/deliveries/replay")
@documented(Operation("Send all of a time again", "deliveries", Replayed, 202, body=Range))
def of_a_time() -> ResponseReturnValue:
    """Send everything again whose event lies in a range of time."""
    here = door()
    who = forms.asker(here)
    asked = forms.body(Range)
    if asked.since is None and asked.until is None:
        fault = {"field": "since", "rule": "is missing, as is until: one of them must be said", "fix": forms.MOMENT}
        raise Problem(400, "the request body is not right", "since or until must be said", errors=[fault])
    return _replayed(here, _which(here, who, asked, None))


def _replayed(here: Door, which: Which) -> ResponseReturnValue:
    begun = here.deliveries.replay(which, here.clock())
    messages.send(here.queue, map(messages.for_delivery, begun[:AT_ONCE]))
    return jsonify({"replayed": len(begun)}), 202


def _which(here: Door, who: str, asked: Range, job: str | None) -> Which:
    # No id holds a NUL, and no database text can.
    subscription = asked.subscription and asked.subscription.replace("\0", "?")
    ours = job and forms.job_of(here, who, job).id
    return Which(who, None, ours, subscription, asked.state, asked.since, asked.until)


def _place(before: str | None) -> tuple[datetime, str] | None:
    if before is None:
        return None
    moment, _, last = before.replace("\0", "?").partition(",")
    try:
        return forms.zoned(datetime.fromisoformat(moment)), last
    except ValueError:
        fault = {"field": "before", "rule": "must be the `next` of a page", "fix": "leave it out for the first page"}
        raise Problem(400, "the query is not right", "before must be the `next` of a page", errors=[fault]) from None


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
    if "tried" in row:
        shown["tried"] = [_plain(one) for one in row["tried"]]
    return shown
