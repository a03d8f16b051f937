"""The Celery door: another app on the same broker asks for a job, with the checks, ids and errors of the HTTP one.

    app.send_task("reelhook.submit.v1", queue="submit", kwargs={
        "family": "videos/omni-video",
        "request": {"prompt": "a cat", "aspect_ratio": "16:9", "external_task_id": "order-7"},
        "on_done": {"task": "shop.video_done", "queue": "shop"},
    })

A message of a key that asks too often comes again a little later, for up to a day.
When the job has ended, the task named by `on_done` is sent with one argument, the event. A message that can't be
understood, or whose request is refused, is set aside for a person to see, and `on_done` is told so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from infra.log import logger
from worker import messages
from worker.accept import DEFAULT_ACCOUNT, Acceptor, Asked, Refused
from worker.jobs import events, outbound, retry
from worker.jobs.access import Caller, NotAllowed, Scope
from worker.kling import catalog
from worker.kling.errors import UnknownFamily
from worker.ports import Clock, Queue
from worker.store.aside import Aside, Word
from worker.store.keys import ApiKeys
from worker.store.rates import Rates

log = logger(__name__)

#: Names of tasks and queues: what may stand in celery://QUEUE/TASK.
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


class TooOften(Exception):
    """The key asks too often just now: the message is to be taken up again after `seconds`."""

    def __init__(self, seconds: float, since: datetime) -> None:
        super().__init__(f"again in {seconds:.0f} s")
        self.seconds = seconds
        self.since = since  #: when it was first kept waiting


class OnDone(BaseModel):
    """A task of the asking app, and the queue that its workers read."""

    model_config = ConfigDict(strict=True, extra="forbid")

    task: str
    queue: str = "celery"

    @field_validator("task", "queue")
    @classmethod
    def named(cls, value: str) -> str:
        """A name, and nothing else."""
        if not _NAME.fullmatch(value):
            raise ValueError("must be a name of letters, digits and any of _ . : -")
        return value

    @property
    def url(self) -> str:
        """As a receiver."""
        return f"celery://{self.queue}/{self.task}"


class Order(BaseModel):
    """The keyword arguments of `reelhook.submit.v1`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    family: str  #: path below /v1, or its last part where that is unambiguous
    request: dict[str, Any]  #: Kling's own body
    caller: str = "default"  #: the API key on whose behalf, by name
    account: str = DEFAULT_ACCOUNT
    check: str = "lenient"
    bucket: str | None = None  #: that its files shall go to, if the key allows it
    prefix: str | None = None  #: where in the bucket its files shall go, if the key allows it
    idempotency_key: str | None = Field(None, min_length=1, max_length=255)
    on_done: OnDone | None = None


@dataclass(frozen=True)
class Came:
    """A message as it came."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    id: str  #: brokers deliver twice, also what carries no `external_task_id`, and it is one job all the same
    since: datetime | None = None  #: when it was first kept waiting because its key asks too often; None: it was not


def request(
    came: Came, *, acceptor: Acceptor, keys: ApiKeys, rates: Rates, aside: Aside, queue: Queue, clock: Clock
) -> None:
    """Take one message: a job, or a row that says why not. Raises `TooOften`, and nothing of the sender's making."""
    try:
        asked = _asked(_understood(came), came.id, keys, clock())
        _in_turn(asked.who, rates, came.since, clock())
        _, wanted = acceptor.accept(asked)
    except Refused as fault:
        log.warning("request.refused", code=fault.code, reason=fault.message)
        told = _set_aside(came, fault, aside, clock())
        messages.send(queue, map(messages.for_delivery, told))
        return
    messages.send(queue, wanted)


def _in_turn(who: Caller, rates: Rates, since: datetime | None, now: datetime) -> None:
    """Count a message as one more request of its key. Raises `TooOften`; `Refused` after a day of that."""
    spent = rates.spend(who, now)
    if spent is None or spent.allowed:
        return
    seconds = retry.ask_again(since or now, now, spent.wait)
    if seconds is None:
        reason = (
            f"API key {who.name!r} may ask {spent.limit} times a minute; no turn came in {retry.MESSAGE_HOURS} hours"
        )
        raise Refused(f"request rate too high: {reason}", http_status=429, code=1302)
    log.warning("request.waits", caller=who.name, per_minute=spent.limit, seconds=round(seconds), since=since or now)
    raise TooOften(seconds, since or now)


def give_up(came: Came, reason: str, *, aside: Aside, clock: Clock) -> None:
    """Set a message aside that ends every process that takes it, or fails for no reason of its sender's making."""
    log.error("request.given_up", reason=reason)
    _set_aside(came, Refused(reason, http_status=500, code=5000), aside, clock())


def _set_aside(came: Came, why: Refused, aside: Aside, now: datetime) -> tuple[str, ...]:
    """Keep it for a person, and with it what its `on_done` is to be told, as far as that can be read."""
    shown = json.dumps({"args": came.args, "kwargs": came.kwargs}, default=str).encode()
    return aside.put(messages.REQUEST, shown, why.message, now, _word(came, why, now))


def _word(came: Came, why: Refused, now: datetime) -> Word | None:
    try:
        on_done = OnDone.model_validate(came.kwargs.get("on_done"))
    except ValidationError:
        return None
    request = came.kwargs.get("request")
    named = request.get("external_task_id") if isinstance(request, Mapping) else None
    body = json.dumps(outbound.refusal(named, why.code, why.message, now))
    same = hashlib.sha256(json.dumps([came.id, why.code, why.message]).encode()).hexdigest()
    return Word(f"msg_{same[:32]}", on_done.url, events.REFUSED.type, body)


def _understood(came: Came) -> Order:
    if came.args:
        raise Refused(f"takes keyword arguments only, found {len(came.args)} others")
    try:
        return Order.model_validate(dict(came.kwargs))
    except ValidationError as problem:
        reasons = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problem.errors(include_input=False)]
        raise Refused("; ".join(reasons)) from None


def _asked(order: Order, message: str, keys: ApiKeys, now: datetime) -> Asked:
    try:
        family = catalog.family(order.family).path
    except UnknownFamily as fault:
        raise Refused(str(fault), http_status=404, code=1203) from None
    who = keys.named(order.caller, now)
    if who is None:
        raise Refused(f"caller {order.caller[:80]!r} is no API key's name", http_status=401, code=1002)
    try:
        who.must(Scope.SUBMIT)
    except NotAllowed as fault:
        raise Refused(str(fault), http_status=403, code=1103) from None
    raw = json.dumps(order.request).encode()
    on_done = order.on_done.url if order.on_done else None
    return Asked(
        who,
        family,
        order.request,
        raw,
        account=order.account,
        idempotency_key=order.idempotency_key or f"celery:{message}",
        check=order.check,
        on_done=on_done,
        bucket=order.bucket,
        prefix=order.prefix,
    )
