"""Tell a receiver what became of a job, signed as Standard Webhooks, or send the task that another app named.

The task only claims: a thread makes the attempt, so a receiver that is slow or dead keeps no worker from others. The
body is made at each attempt, so its links are fresh; the `webhook-id` stays, so a receiver can tell repetitions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from time import monotonic
from typing import Any

from sqlalchemy.exc import OperationalError

from infra.db import is_away
from infra.http import HttpError, NoPlace
from infra.log import logger, without_secrets
from worker import messages
from worker.jobs import circuit, events, outbound, retry, signing
from worker.jobs.model import Job
from worker.jobs.tokens import signing_secret
from worker.ports import Answer, Clock, Hands, Http, Queue
from worker.store.aside import BODY, Aside
from worker.store.attention import Attention
from worker.store.outbox import Attempt, Delivery, Outbox
from worker.store.repository import Repository
from worker.store.subscriptions import Subscription, Subscriptions
from worker.store.telling import SUBSCRIPTION

log = logger(__name__)

_GONE = 410
#: Statuses below 500 that say something of the receiver, not of what it was sent.
_BUSY = frozenset({408, 429})
_CELERY = "celery://"
#: A delivery is in one pair of hands for as long as an attempt may take, and this.
_MARGIN = timedelta(seconds=15)
#: Bytes of an answer that are kept.
_KEPT = 1024
#: Seconds after which a thread that goes from delivery to delivery lets others have its hand.
_ROUND_SECONDS = 20


@dataclass(frozen=True)
class Ways:
    """How receivers are reached, and what their bodies are made with."""

    http: Http  #: guarded
    queue: Queue
    hands: Hands
    link: outbound.Link
    secret: bytes  #: the app's; each caller's signing secret is derived from it
    seconds: float  #: that one attempt may take


@dataclass(frozen=True)
class Announcer:
    """The rows and ways that deliveries need."""

    store: Repository
    outbox: Outbox
    subscriptions: Subscriptions
    attention: Attention
    aside: Aside
    ways: Ways
    clock: Clock
    most: int = retry.DEATHS  #: attempts in a row of which nothing was heard

    def announce(self, delivery_id: str) -> None:
        """Begin what is due at the receiver of this delivery. Does nothing when that is nothing, or may not be."""
        hands = self.ways.hands
        if hands.free == 0:
            return
        delivery = self.outbox.claim(delivery_id, self.clock(), self._lease, circuit.least(hands.free, hands.count))
        if delivery is not None and self._may(delivery):
            self.ways.hands.give(lambda: self._carry(delivery))

    def _may(self, delivery: Delivery) -> bool:
        """Whether to attempt it: one that ended its process so often is given up, and shown."""
        if delivery.begun <= self.most:
            return True
        reason = f"{self.most} attempts in a row ended their process; it is given up"
        log.error("delivery.set_aside", delivery=delivery.id, reason=reason)
        self.aside.put(f"delivery {delivery.id}", delivery.id.encode(), reason, self.clock())
        self.outbox.drop(delivery, reason)
        return False

    def _carry(self, delivery: Delivery) -> None:
        """Attempt a delivery, and then the next ones of a receiver that takes them."""
        until = monotonic() + _ROUND_SECONDS
        at_hand: Delivery | None = delivery
        while at_hand is not None and self._may(at_hand) and self._try(at_hand) and monotonic() < until:
            at_hand = self.outbox.next(at_hand, self.clock(), self._lease)

    def _try(self, delivery: Delivery) -> bool:
        """Whether the receiver took it, and more may be due there. Whatever goes wrong here is an attempt, too, unless
        the database is what kept it from leaving.
        """
        now, began, left = self.clock(), monotonic(), False
        try:
            leave = self._ready(delivery)
            left = True
            return leave()
        except Exception as fault:
            if not left and (isinstance(fault, OperationalError) or is_away(fault)):
                return self._put_back(delivery, fault)
            log.exception("delivery.failed", job=_job_id(delivery), delivery=delivery.id)
            trial = delivery.occurred.type == events.TEST.type
            again = None if trial else retry.deliver_again(delivery.tries, delivery.begun_at, self.clock(), 0)
            attempt = Attempt(now, monotonic() - began, error=f"{type(fault).__name__} here, see the log")
            self.outbox.missed(delivery, attempt, again, counts=False)
            return False

    def _put_back(self, delivery: Delivery, fault: Exception) -> bool:
        """What is to be told could not be read: it is as if nobody had claimed it, but for a while."""
        log.warning("delivery.no_database", delivery=delivery.id, reason=type(fault).__name__)
        self.outbox.put_back(delivery, self.clock() + timedelta(seconds=retry.vary(retry.DATABASE_AGAIN)))
        return False

    def _ready(self, delivery: Delivery) -> Callable[[], bool]:
        """What makes the attempt, once all that it needs was read; whether the receiver took it, and more may be due
        there.
        """
        if delivery.url.startswith(_CELERY):
            return partial(self._send, delivery, self._event(delivery))
        if not delivery.url.startswith(SUBSCRIPTION):
            job, body = self._body(delivery, outbound.callback)
            return partial(self._post, delivery, delivery.url, body, [signing_secret(self.ways.secret, job.caller)])
        subscription = self.subscriptions.get(delivery.url.removeprefix(SUBSCRIPTION))
        if subscription is None:
            return partial(self._drop, delivery, "the subscription was deleted")
        trial = delivery.occurred.type == events.TEST.type
        if subscription.disabled_at and not trial and self.subscriptions.hold(subscription.id, delivery.id):
            return lambda: True
        body = (
            outbound.trial(subscription.id, delivery.occurred.at) if trial else self._body(delivery, outbound.event)[1]
        )
        keys = self.subscriptions.keys(subscription.id, self.clock())
        return partial(self._post, delivery, subscription.url, body, keys, subscription)

    def _drop(self, delivery: Delivery, reason: str) -> bool:
        self.outbox.drop(delivery, reason)
        return True

    def _event(self, delivery: Delivery) -> dict[str, Any]:
        """What the task of another app is called with."""
        said = delivery.occurred.data.get(BODY)  # of a request that never became a job
        event: dict[str, Any] = json.loads(said) if said else self._body(delivery, outbound.event)[1]
        return event

    def _body(self, delivery: Delivery, form: Callable[..., dict[str, Any]]) -> tuple[Job, dict[str, Any]]:
        job = delivery.job
        assert job is not None, "only test events belong to no job"
        files = self.store.files([job.id])[job.id]
        return job, form(job, files, cache(self.ways.link), delivery.occurred)

    def _post(
        self,
        delivery: Delivery,
        url: str,
        body: dict[str, Any],
        keys: list[str],
        subscription: Subscription | None = None,
    ) -> bool:
        text, now, began = json.dumps(body, ensure_ascii=False), self.clock(), monotonic()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Reelhook",
            "reelhook-event": events.told_as(delivery.occurred.type),
            "reelhook-sequence": str(delivery.occurred.sequence),
            **signing.headers(keys, delivery.id, now, text),
        }
        try:
            answer = self.ways.http.send(
                "POST", url, headers, text.encode(), seconds=self.ways.seconds, limit=_KEPT, cut=True
            )
        except HttpError as fault:
            attempt = Attempt(now, monotonic() - began, error=str(fault))
            self._missed(delivery, attempt, subscription, final=isinstance(fault, NoPlace))
            return False
        error = None if 200 <= answer.status < 300 else f"HTTP {answer.status}"
        attempt = Attempt(now, monotonic() - began, answer.status, _first(answer), error)
        if error is None:
            return self._delivered(delivery, attempt)
        wait = retry.retry_after(answer.headers.get("Retry-After"), self.clock())
        self._missed(delivery, attempt, subscription, wait=wait, final=answer.status == _GONE)
        return False

    def _send(self, delivery: Delivery, event: dict[str, Any]) -> bool:
        """Hand the event to the task that the asking app named."""
        queue_name, _, task = delivery.url.removeprefix(_CELERY).partition("/")
        now, began = self.clock(), monotonic()
        taken = self.ways.queue.send(task, queue_name, (event,), delivery.id)
        error = None if taken else "the broker did not take the message"
        attempt = Attempt(now, monotonic() - began, error=error)
        if taken:
            return self._delivered(delivery, attempt)
        again = retry.send_again(delivery.tries, delivery.begun_at, self.clock())
        self.outbox.missed(delivery, attempt, again, counts=False)
        log.warning("delivery.missed", job=_job_id(delivery), delivery=delivery.id, reason=error, given_up=not again)
        return False

    def _delivered(self, delivery: Delivery, attempt: Attempt) -> bool:
        more = self.outbox.delivered(delivery, attempt)
        log.info("delivery.delivered", job=_job_id(delivery), delivery=delivery.id, attempt=delivery.attempts)
        return more

    def _missed(
        self,
        delivery: Delivery,
        attempt: Attempt,
        subscription: Subscription | None,
        *,
        wait: float = 0,
        final: bool = False,
    ) -> None:
        now = self.clock()
        trial = delivery.occurred.type == events.TEST.type
        again = None if final or trial else retry.deliver_again(delivery.tries, delivery.begun_at, now, wait)
        keep = again is None and subscription is not None and not trial
        counts = attempt.status is None or attempt.status >= 500 or attempt.status in _BUSY
        self.outbox.missed(
            delivery,
            attempt,
            now if keep else again,
            counts=(counts or attempt.seconds >= circuit.SLOW) and not final,
            rest=wait,
        )
        log.warning(
            "delivery.missed", job=_job_id(delivery), delivery=delivery.id, reason=attempt.error, given_up=again is None
        )
        if subscription is not None and (keep or final):
            self._disable(delivery, subscription, f"{attempt.error} at attempt {delivery.attempts}")

    def _disable(self, delivery: Delivery, subscription: Subscription, reason: str) -> None:
        """A receiver that is gone, or took nothing for days: its events are kept, and a person is told."""
        if not self.subscriptions.disable(subscription.id, reason, self.clock()):
            return
        log.error("subscription.disabled", subscription=subscription.id, reason=reason)
        if delivery.job is not None:
            message = f"subscription {subscription.id} was disabled: {reason}"
            told = self.attention.attend(delivery.job.id, "receiver_disabled", message, self.clock())
            messages.send(self.ways.queue, map(messages.for_delivery, told))

    @property
    def _lease(self) -> timedelta:
        return timedelta(seconds=self.ways.seconds) + _MARGIN


def _job_id(delivery: Delivery) -> str | None:
    return delivery.job.id if delivery.job else None


def _first(answer: Answer) -> str:
    """The beginning of an answer, as far as a row can hold it. It may say back the links that it was sent."""
    return without_secrets(answer.body[:_KEPT].decode(errors="replace").replace("\0", ""))
