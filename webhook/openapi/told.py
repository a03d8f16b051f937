"""What receivers are sent: the webhooks of the document."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from webhook.shapes import JobError, Shape, StoredFile, Task
from worker.jobs import events
from worker.jobs.model import State

TAG = "events"
ABOUT = "What receivers are sent, and how they answer."

_ANSWERS = {
    "2XX": "taken",
    "410": "wanted no more: a subscription is disabled",
    "default": "anything else: it is sent again, ever later, for three days",
}
_HEADERS = {
    "webhook-id": "the same each time that it is sent",
    "webhook-timestamp": "seconds since 1970 of this attempt",
    "webhook-signature": "of id, timestamp and body, as Standard Webhooks has it; two while keys are replaced",
    "reelhook-event": "its type",
    "reelhook-sequence": "its place among the job's events, from 1",
}


class ToldFile(StoredFile):
    """A proven file in the bucket, as events tell of it."""

    url: Annotated[str, Field(description="opens for a while; made anew for each attempt")]
    poster_url: str | None = None
    poster_key: str | None = None
    sheet_url: str | None = None
    sheet_key: Annotated[str | None, Field(description="the contact sheet")] = None


class ToldFacts(Shape):
    """What Kling's payload has no words for."""

    state: State
    sequence: Annotated[int, Field(description="place among the job's events, from 1")]
    family: str
    account: str
    error: JobError | None
    files: list[ToldFile]
    adopted_from: Annotated[str | None, Field(description="the job that had ended without this task")] = None
    reason: Annotated[
        str | None, Field(description="of job.attention", json_schema_extra={"enum": [*events.REASONS, None]})
    ] = None
    message: Annotated[str | None, Field(description="the same in a sentence")] = None


class ToldJob(Task, ToldFacts):
    """Kling's task object, and what it has no words for."""


class Event(Shape):
    """What a subscription is sent, in the form of Standard Webhooks."""

    type: Annotated[
        str,
        Field(
            description="; ".join(f"`{name}`: {meaning}" for name, meaning in events.TYPES.items()),
            json_schema_extra={"enum": list(events.TYPES)},
        ),
    ]
    timestamp: Annotated[str, Field(description="when it happened", json_schema_extra={"format": "date-time"})]
    data: ToldJob


class Subscribed(Shape):
    """A subscription, by name."""

    subscription: Annotated[str, Field(description="its id")]


class Trial(Shape):
    """What a subscription is sent by its `/test`, once: that it came is all that it says."""

    type: Literal["subscription.test"]
    timestamp: Annotated[str, Field(description="when it was asked for", json_schema_extra={"format": "date-time"})]
    data: Subscribed


class Callback(Task):
    """What a `callback_url` is sent once the job has ended: Kling's flat payload, and what is ours in one field."""

    reelhook: ToldFacts


#: By the name that the document gives them.
_SENT: dict[str, tuple[type[BaseModel], str]] = {
    "event": (Event, "What a subscription hears of"),
    "test": (Trial, "What a subscription is sent to try it"),
    "callback_url": (Callback, "What a request's callback_url is sent"),
}
MODELS = tuple(model for model, _ in _SENT.values())


def webhooks() -> dict[str, Any]:
    """Those of the document."""
    return {name: {"post": _sent(name, model, summary)} for name, (model, summary) in _SENT.items()}


def _sent(name: str, model: type[BaseModel], summary: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {
        "operationId": f"told_{name}",
        "summary": summary,
        "description": inspect.getdoc(model) or summary,
        "tags": [TAG],
        "security": [],
        "parameters": [
            {"name": header, "in": "header", "required": True, "description": about, "schema": {"type": "string"}}
            for header, about in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {status: {"description": about} for status, about in _ANSWERS.items()},
    }
