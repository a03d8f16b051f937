"""Settings become the worker's wiring: built once a process, after fork, on first use."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from celery import Celery
from sqlalchemy import Engine

from infra.db import make_engine
from infra.http import Guard, Http
from infra.object_store import ObjectStore
from infra.queue import Queue
from infra.settings import BadSettings, Settings
from worker.copier import Copier
from worker.kling.errors import BadAccountUrl
from worker.kling.gateways import Account, parse_account
from worker.provider import Provider
from worker.store.outbox import Outbox
from worker.store.repository import Repository


def now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


def account(settings: Settings) -> Account:
    """The account behind KLING_URL. Raises `BadSettings`."""
    try:
        return parse_account(settings.kling_url.get_secret_value())
    except BadAccountUrl as fault:
        raise BadSettings(f"Reelhook cannot start:\n  KLING_URL: {fault}") from None


@dataclass(frozen=True)
class Services:
    """What the tasks are handed. Each part is made when it is first asked for."""

    settings: Settings
    celery: Celery

    @cached_property
    def engine(self) -> Engine:
        """The connections of this process."""
        return make_engine(self.settings, application="reelhook-worker")

    @cached_property
    def store(self) -> Repository:
        """The rows of jobs."""
        return Repository(self.engine)

    @cached_property
    def outbox(self) -> Outbox:
        """The rows of deliveries."""
        return Outbox(self.engine)

    @cached_property
    def queue(self) -> Queue:
        """The way to the broker."""
        return Queue(self.celery)

    @cached_property
    def bucket(self) -> ObjectStore:
        """The way to the bucket."""
        return ObjectStore(self.settings)

    @cached_property
    def guarded(self) -> Http:
        """For URLs that somebody else chose: results and receivers."""
        return Http(Guard(self.settings.guard_allow_cidrs))

    @cached_property
    def provider(self) -> Provider:
        """The account at Kling; its address is the operator's choice, so no guard stands before it."""
        return Provider(
            account=account(self.settings),
            http=Http(),
            callback_base=self.settings.public_url,
            secret=self.settings.secret_key.get_secret_value().encode(),
            seconds=self.settings.kling_timeout_seconds,
            pace=self.settings.kling_pace,
        )

    @cached_property
    def copier(self) -> Copier:
        """What carries files into the bucket."""
        return Copier(
            http=self.guarded,
            bucket=self.bucket,
            key_template=self.settings.s3_key_template,
            largest=self.settings.max_result_bytes,
        )

    @property
    def link(self) -> Callable[[str], str]:
        """Makes a key into a link that opens for a while."""
        return lambda key: self.bucket.presign(key, seconds=self.settings.s3_link_seconds)


class PerProcess:
    """`Services` of the process that asks: a child that was forked off makes its own."""

    def __init__(self, settings: Settings, celery: Celery) -> None:
        self._settings = settings
        self._celery = celery
        self._made: tuple[int, Services] | None = None

    def __call__(self) -> Services:
        """The parts of this process."""
        if self._made is None or self._made[0] != os.getpid():
            self._made = (os.getpid(), Services(self._settings, self._celery))
        return self._made[1]
