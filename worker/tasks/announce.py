"""Tell a receiver what became of a job: Kling's own payload, links into the bucket, signed as Standard Webhooks.

The body is made at each attempt, so its links are fresh; the `webhook-id` stays, so a receiver can tell repetitions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from standardwebhooks.webhooks import Webhook

from infra.http import Blocked, HttpError
from infra.log import logger
from worker.jobs import outbound, retry
from worker.jobs.tokens import signing_secret
from worker.ports import Clock, Http, Queue
from worker.store.outbox import Delivery, Outbox
from worker.store.repository import Repository

log = logger(__name__)

_GONE = 410
_CELERY = "celery://"
#: A delivery is in one pair of hands for as long as an attempt may take, and this.
_MARGIN = timedelta(seconds=15)


@dataclass(frozen=True)
class Ways:
    """How receivers are reached, and what their bodies are made with."""

    http: Http  #: guarded
    queue: Queue
    link: Callable[[str], str]  #: makes a key into a URL that opens
    secret: bytes  #: the app's; each caller's signing secret is derived from it
    seconds: float  #: that one attempt may take


def announce(delivery_id: str, *, store: Repository, outbox: Outbox, ways: Ways, clock: Clock) -> None:
    """Make one attempt at a delivery that is due. Does nothing for one that isn't, or has ended."""
    delivery = outbox.claim(delivery_id, clock(), timedelta(seconds=ways.seconds) + _MARGIN)
    if delivery is None:
        return
    job = store.get(delivery.job_id)
    assert job is not None, "deliveries refer to jobs"
    files = store.files([job.id])[job.id]
    if delivery.url.startswith(_CELERY):
        _send(delivery, outbound.event(job, files, ways.link, clock()), outbox=outbox, queue=ways.queue, now=clock())
        return
    body = json.dumps(outbound.callback(job, files, ways.link), ensure_ascii=False)
    headers = _headers(signing_secret(ways.secret, job.caller), delivery.id, body, clock())
    _post(delivery, headers, body.encode(), outbox=outbox, ways=ways, clock=clock)


def _post(
    delivery: Delivery, headers: dict[str, str], body: bytes, *, outbox: Outbox, ways: Ways, clock: Clock
) -> None:
    try:
        answer = ways.http.send("POST", delivery.url, headers, body, seconds=ways.seconds, limit=2**16)
    except HttpError as fault:
        _missed(delivery, None, str(fault), outbox=outbox, now=clock(), final=isinstance(fault, Blocked))
        return
    if 200 <= answer.status < 300:
        outbox.delivered(delivery, clock(), answer.status)
        log.info("delivery.delivered", job=delivery.job_id, delivery=delivery.id, attempt=delivery.attempts)
        return
    wait = retry.retry_after(answer.headers.get("Retry-After"))
    final = answer.status == _GONE
    _missed(delivery, answer.status, f"HTTP {answer.status}", outbox=outbox, now=clock(), wait=wait, final=final)


def _send(delivery: Delivery, event: dict[str, Any], *, outbox: Outbox, queue: Queue, now: datetime) -> None:
    """Hand the event to the task that the asking app named."""
    queue_name, _, task = delivery.url.removeprefix(_CELERY).partition("/")
    if queue.send(task, queue_name, (event,)):
        outbox.delivered(delivery, now, 0)
        log.info("delivery.delivered", job=delivery.job_id, delivery=delivery.id, attempt=delivery.attempts)
    else:
        _missed(delivery, None, "the broker did not take the message", outbox=outbox, now=now)


def _headers(secret: str, delivery_id: str, body: str, now: datetime) -> dict[str, str]:
    return {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Reelhook",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(delivery_id, now, body),
    }


def _missed(
    delivery: Delivery,
    status: int | None,
    error: str,
    *,
    outbox: Outbox,
    now: datetime,
    wait: float = 0,
    final: bool = False,
) -> None:
    again = None if final else retry.after(retry.DELIVER_AGAIN, delivery.attempts, now)
    if again is not None:
        again = max(again, now + timedelta(seconds=wait))
    outbox.missed(delivery, again, status=status, error=error)
    log.warning("delivery.missed", job=delivery.job_id, delivery=delivery.id, reason=error, given_up=again is None)
