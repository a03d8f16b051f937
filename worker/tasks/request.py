"""The Celery door: another app on the same broker asks for a job, with the checks, ids and errors of the HTTP one.

    app.send_task("reelhook.submit.v1", queue="submit", kwargs={
        "family": "videos/omni-video",
        "request": {"prompt": "a cat", "aspect_ratio": "16:9", "external_task_id": "order-7"},
        "on_done": {"task": "shop.video_done", "queue": "shop"},
    })

When the job has ended, the task named by `on_done` is sent with one argument, the event. A message that can't be
understood, or whose request is refused, is set aside for a person to see, and `on_done` is told so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from infra.log import logger
from worker import messages
from worker.accept import DEFAULT_ACCOUNT, Acceptor, Asked, Refused
from worker.jobs import outbound
from worker.jobs.access import NotAllowed, Scope
from worker.kling import catalog
from worker.kling.errors import UnknownFamily
from worker.ports import Clock, Queue
from worker.store.aside import Aside
from worker.store.keys import ApiKeys

log = logger(__name__)

#: Names of tasks and queues: what may stand in celery://QUEUE/TASK.
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


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


def request(
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    message: str,
    acceptor: Acceptor,
    keys: ApiKeys,
    aside: Aside,
    queue: Queue,
    clock: Clock,
) -> None:
    """Take one message: a job, or a row that says why not. Raises nothing of the sender's making.

    `message` is its id: brokers deliver twice, also what carries no `external_task_id`, and it is one job all the same.
    """
    try:
        order = _understood(args, kwargs)
    except Refused as fault:
        aside.put(messages.REQUEST, _shown(args, kwargs), fault.message, clock())
        log.warning("request.set_aside", reason=fault.message)
        return
    try:
        _, wanted = acceptor.accept(_asked(order, message, keys, clock()))
    except Refused as fault:
        aside.put(messages.REQUEST, _shown(args, kwargs), fault.message, clock())
        log.warning("request.refused", code=fault.code, reason=fault.message)
        if order.on_done:
            event = outbound.refusal(order.request.get("external_task_id"), fault.code, fault.message, clock())
            queue.send(order.on_done.task, order.on_done.queue, (event,))
        return
    messages.send(queue, wanted)


def give_up(args: tuple[Any, ...], kwargs: Mapping[str, Any], reason: str, *, aside: Aside, clock: Clock) -> None:
    """Set a message aside that ends every process that takes it, or fails for no reason of its sender's making."""
    aside.put(messages.REQUEST, _shown(args, kwargs), reason, clock())
    log.error("request.given_up", reason=reason)


def _understood(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Order:
    if args:
        raise Refused(f"takes keyword arguments only, found {len(args)} others")
    try:
        return Order.model_validate(dict(kwargs))
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


def _shown(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
    return json.dumps({"args": args, "kwargs": kwargs}, default=str).encode()
