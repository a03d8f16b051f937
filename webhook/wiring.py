"""What the routes are handed: built once a process, after fork, on the first request."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import cast

from flask import current_app
from sqlalchemy import Engine

from infra.db import make_engine, single
from infra.guard import Guard
from infra.http import Http
from infra.object_store import ObjectStore
from infra.queue import BackgroundQueue, Queue, make_celery
from infra.settings import Settings
from worker.accept import Acceptor
from worker.inputs import Inputs
from worker.kling.gateways import Account
from worker.services import accounts, input_link, now
from worker.store.claims import Claims
from worker.store.deliveries import Deliveries
from worker.store.history import History
from worker.store.inbox import Inbox
from worker.store.keys import ApiKeys
from worker.store.rates import Rates
from worker.store.repository import Repository
from worker.store.subscriptions import Subscriptions


@dataclass(frozen=True)
class Door:
    """The parts of the door. Each is made when it is first asked for."""

    settings: Settings

    @cached_property
    def engine(self) -> Engine:
        """The connections of this process, but for the one of callbacks."""
        return make_engine(self.settings, application="reelhook-web", connections=self.settings.database_pool_size - 1)

    @cached_property
    def store(self) -> Repository:
        """The rows of jobs."""
        return Repository(self.engine)

    @cached_property
    def inbox(self) -> Inbox:
        """The rows of callbacks, for those who read them."""
        return Inbox(self.engine)

    @cached_property
    def arrivals_engine(self) -> Engine:
        """A connection for callbacks that nothing else may hold; a statement is one round trip, and soon gives way."""
        return single(make_engine(self.settings, application="reelhook-web", connections=1, lock_seconds=1))

    @cached_property
    def arrivals(self) -> Inbox:
        """The rows of callbacks, for those that come."""
        return Inbox(self.arrivals_engine)

    @cached_property
    def keys(self) -> ApiKeys:
        """The rows of API keys."""
        return ApiKeys(self.engine, self.settings.secret)

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """The rows of subscriptions."""
        return Subscriptions(self.engine, self.settings.secret)

    @cached_property
    def history(self) -> History:
        """What happened, for subscriptions that were not told."""
        return History(self.engine)

    @cached_property
    def deliveries(self) -> Deliveries:
        """The rows of deliveries, to be looked at and sent again."""
        return Deliveries(self.engine)

    @cached_property
    def guard(self) -> Guard:
        """Where receivers may be."""
        return Guard(self.settings.guard_allow_cidrs, self.settings.guard_ports)

    @cached_property
    def rates(self) -> Rates:
        """How fast they may ask."""
        return Rates(self.engine)

    @cached_property
    def claims(self) -> Claims:
        """Creates that are under way."""
        return Claims(self.engine)

    @cached_property
    def queue(self) -> BackgroundQueue:
        """Messages leave behind the request's back: no caller waits for a broker."""
        return BackgroundQueue(Queue(make_celery(self.settings, "reelhook-web")))

    @cached_property
    def bucket(self) -> ObjectStore:
        """Makes links; looks at `s3://` inputs."""
        return ObjectStore(self.settings)

    @cached_property
    def accounts(self) -> dict[str, Account]:
        """By whose rules requests are checked."""
        return accounts(self.settings)

    @cached_property
    def acceptor(self) -> Acceptor:
        """What makes a request a job, or refuses it."""
        guarded = Http(self.guard, self.settings.ca_bundle)
        inputs = Inputs(self.bucket, guarded if self.settings.probe_urls else None)
        edition, bucket = self.settings.kling_edition, self.settings.s3_bucket
        return Acceptor(self.store, self.accounts, inputs, edition, self.clock, bucket, self.guard)

    @cached_property
    def trusted(self) -> Http:
        """For the accounts: their addresses are the operator's choice, so no guard stands before it."""
        return Http(authorities=self.settings.ca_bundle)

    def input_link(self, reference: str) -> str:
        """A link to an `s3://` input that lives until Kling has fetched it."""
        return input_link(self.bucket, reference, self.settings.s3_input_link_seconds)

    @property
    def clock(self) -> Callable[[], datetime]:
        """The clock of production."""
        return now

    def link(self, bucket: str, key: str, seconds: int | None = None) -> str:
        """A link that opens for so long, or for as long as the settings say."""
        return self.bucket.of(bucket).presign(key, seconds=seconds or self.settings.s3_link_seconds)


class DoorPerProcess:
    """The `Door` of the process that asks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: tuple[int, Door] | None = None

    def __call__(self) -> Door:
        """The parts of this process."""
        if self._made is None or self._made[0] != os.getpid():
            self._made = (os.getpid(), Door(self._settings))
        return self._made[1]


def door() -> Door:
    """The parts that the current request is handed."""
    return cast("DoorPerProcess", current_app.extensions["reelhook"])()
