"""Settings become the worker's wiring: built once a process, on first use; what `before_fork` makes before a fork."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from celery import Celery
from sqlalchemy import Engine

from infra import pictures
from infra.db import make_engine
from infra.guard import Guard
from infra.hands import Hands
from infra.heap import keep_freed, share
from infra.http import Http
from infra.object_store import ObjectStore
from infra.queue import Queue, is_ending
from infra.settings import BadSettings, Settings
from worker.accept import DEFAULT_ACCOUNT, Acceptor
from worker.copier import Copier
from worker.inputs import Inputs
from worker.kling.errors import BadAccountUrl
from worker.kling.gateways import Account, parse_account
from worker.pipelines import Pipelines
from worker.previews import Previews
from worker.provider import Provider
from worker.store.accounts import Accounts
from worker.store.aside import Aside
from worker.store.attention import Attention
from worker.store.inbox import Inbox
from worker.store.keys import ApiKeys
from worker.store.moment import DatabaseClock
from worker.store.outbox import Outbox
from worker.store.rates import Rates
from worker.store.repository import Repository
from worker.store.retention import Retention
from worker.store.runs import Runs
from worker.store.subscriptions import Subscriptions
from worker.store.untaken import Untaken


def input_link(store: ObjectStore, reference: str, seconds: int) -> str:
    """A link to what `s3://BUCKET/KEY` names."""
    bucket, _, key = reference.removeprefix("s3://").partition("/")
    return store.of(bucket).presign(key, seconds=seconds)


def now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


def accounts(settings: Settings) -> dict[str, Account]:
    """The accounts by name; KLING_URL's is `default`. Raises `BadSettings` that names every wrong one."""
    urls = {DEFAULT_ACCOUNT: settings.kling_url, **settings.kling_urls}
    made, faults = {}, []
    for name, url in urls.items():
        try:
            made[name] = parse_account(url.get_secret_value(), name)
        except BadAccountUrl as fault:
            faults.append(f"  {'KLING_URL' if name == DEFAULT_ACCOUNT else f'KLING_URL_{name.upper()}'}: {fault}")
    if faults:
        raise BadSettings("\n".join(["Reelhook cannot start, these settings are missing or wrong:", *faults]))
    return made


#: Seconds of the platform's grace that a slice of work leaves for the part that is under way, and for going.
_MARGIN_SECONDS = 8


@dataclass(frozen=True)
class Services:
    """What the tasks are handed. Each part is made when it is first asked for."""

    settings: Settings
    celery: Celery
    made: ObjectStore | None = None  #: by the process that this one was forked off, which sent nothing by it

    @cached_property
    def engine(self) -> Engine:
        """The connection of this process, which does one task at a time; what its threads ask of it is short."""
        return make_engine(self.settings, application="reelhook-worker", connections=1)

    @cached_property
    def store(self) -> Repository:
        """The rows of jobs."""
        return Repository(self.engine, self.clock.hear)

    @cached_property
    def clock(self) -> DatabaseClock:
        """The time that the workers agree on."""
        return DatabaseClock()

    @cached_property
    def accounts(self) -> Accounts:
        """The rows of the provider's accounts."""
        return Accounts(self.engine)

    @cached_property
    def retention(self) -> Retention:
        """The rows that expire."""
        return Retention(self.engine)

    @cached_property
    def runs(self) -> Runs:
        """When something was last done."""
        return Runs(self.engine)

    @cached_property
    def inbox(self) -> Inbox:
        """The rows of callbacks."""
        return Inbox(self.engine)

    @cached_property
    def outbox(self) -> Outbox:
        """The rows of deliveries."""
        return Outbox(self.engine, self.settings.delivery_parallel)

    @cached_property
    def untaken(self) -> Untaken:
        """The rows of deliveries that a broker may lose."""
        return Untaken(self.engine)

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """The rows of subscriptions."""
        return Subscriptions(self.engine, self.settings.secret)

    @cached_property
    def attention(self) -> Attention:
        """Jobs that want a person."""
        return Attention(self.engine)

    @cached_property
    def hands(self) -> Hands:
        """Threads for deliveries."""
        return Hands(self.settings.delivery_threads)

    @cached_property
    def keys(self) -> ApiKeys:
        """The rows of API keys."""
        return ApiKeys(self.engine, self.settings.secret)

    @cached_property
    def rates(self) -> Rates:
        """How often API keys may ask."""
        return Rates(self.engine)

    @cached_property
    def aside(self) -> Aside:
        """The rows of what was set aside."""
        return Aside(self.engine)

    @cached_property
    def queue(self) -> Queue:
        """The way to the broker."""
        return Queue(self.celery)

    @cached_property
    def bucket(self) -> ObjectStore:
        """The way to the deployment's own bucket, and by `of` to others of the store."""
        return self.made or ObjectStore(self.settings)

    @cached_property
    def guarded(self) -> Http:
        """For URLs that somebody else chose: results and receivers."""
        return Http(self.guard, self.settings.ca_bundle)

    @cached_property
    def guard(self) -> Guard:
        """Where they may be."""
        return Guard(self.settings.guard_allow_cidrs, self.settings.guard_ports)

    @cached_property
    def provider(self) -> Provider:
        """The account at Kling; its address is the operator's choice, so no guard stands before it."""
        return Provider(
            accounts=accounts(self.settings),
            http=Http(authorities=self.settings.ca_bundle),
            callback_base=self.settings.public_url,
            secret=self.settings.secret,
            seconds=self.settings.kling_timeout_seconds,
            pace=self.settings.kling_pace,
            link=lambda reference: input_link(self.bucket, reference, self.settings.s3_input_link_seconds),
        )

    @cached_property
    def acceptor(self) -> Acceptor:
        """What makes a request that came by a message a job, or refuses it."""
        inputs = Inputs(self.bucket, self.guarded if self.settings.probe_urls else None)
        edition, bucket = self.settings.kling_edition, self.settings.s3_bucket
        return Acceptor(self.store, accounts(self.settings), inputs, edition, now, bucket, self.guard)

    @cached_property
    def pipelines(self) -> Pipelines:
        """What takes jobs on that waited for others."""
        return Pipelines(self.store, self.acceptor.inputs, self.acceptor.accounts, self.settings.kling_edition)

    @cached_property
    def copier(self) -> Copier:
        """What carries files into the bucket."""
        keep_freed()
        return Copier(
            http=self.guarded,
            bucket=self.bucket,
            key_template=self.settings.s3_key_template,
            largest=self.settings.max_result_bytes,
            slowest=self.settings.fetch_slowest,
            slice_seconds=self.slice_seconds,
            previews=Previews(self.settings.posters, self.settings.contact_sheets),
            ending=is_ending,
        )

    def places(self) -> list[tuple[str, str]]:
        """Where our files are: buckets, and what keys begin with there. Each place that a job's files were sent to."""
        head = self.settings.s3_key_template.partition("{")[0]
        places = {("", ""), *self.store.places()}
        own = self.settings.s3_bucket
        return sorted({(bucket or own, f"{prefix}/{head}" if prefix else head) for bucket, prefix in places})

    @property
    def slice_seconds(self) -> float:
        """How long one task may work on something that another can go on with."""
        return max(self.settings.shutdown_grace_seconds - _MARGIN_SECONDS, 1)

    @property
    def link(self) -> Callable[[str, str], str]:
        """Makes bucket and key into a link that opens for a while."""
        return lambda bucket, key: self.bucket.of(bucket).presign(key, seconds=self.settings.s3_link_seconds)


class PerProcess:
    """`Services` of the process that asks: a child that was forked off makes its own."""

    def __init__(self, settings: Settings, celery: Celery) -> None:
        self._settings = settings
        self._celery = celery
        self._bucket: ObjectStore | None = None
        self._made: tuple[int, Services] | None = None

    def __call__(self) -> Services:
        """The parts of this process."""
        if self._made is None or self._made[0] != os.getpid():
            self._made = (os.getpid(), Services(self._settings, self._celery, self._bucket))
        return self._made[1]

    def before_fork(self) -> None:
        """Make what children may share: what never changes, and holds no connection. The way into the bucket is 25 MiB
        of what the store's model says, in each process that makes it for itself.
        """
        self._bucket = self._bucket or ObjectStore(self._settings)
        pictures.prepare()
        share()
