"""Celery's entry: `celery -A worker.app worker` and `celery -A worker.app beat`.

Each task is a name from the contract, the verb, and what the verb is handed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Task
from celery.signals import (
    celeryd_after_setup,
    setup_logging,
    task_failure,
    task_postrun,
    task_prerun,
    worker_before_create_process,
)
from kombu import Queue as Declared
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from infra import log
from infra.db import is_away, make_engine
from infra.queue import make_celery
from infra.settings import BadSettings, load
from worker import messages
from worker.services import PerProcess, Services, accounts, now
from worker.store.aside import Aside
from worker.store.moment import DatabaseClock
from worker.store.repository import MaybeStored
from worker.store.steps import BEHIND, is_ready, why
from worker.tasks.adopt import call_up
from worker.tasks.announce import Announcer, Ways
from worker.tasks.archive import Fresh, archive
from worker.tasks.attend import attend
from worker.tasks.begin import Begin
from worker.tasks.complaints import Complaints
from worker.tasks.expire import ASKED_SECONDS, expire
from worker.tasks.follow_up import follow_up
from worker.tasks.onward import Onward
from worker.tasks.reach import reach
from worker.tasks.record import catch_up
from worker.tasks.request import Came, TooOften, give_up, request
from worker.tasks.steady import Steady
from worker.tasks.submit import submit
from worker.tasks.sweep import sweep
from worker.tasks.tidy import tidy
from worker.tasks.watch import watch

try:
    settings = load()
    accounts(settings)
except BadSettings as fault:
    sys.exit(str(fault))

logger = log.logger(__name__)
app = make_celery(settings)
app.task_cls = Steady  # type: ignore[assignment]  # its stubs know the name of a class only
app.conf.task_queues = [Declared(name) for name in messages.QUEUES]
app.conf.task_default_queue = "sweep"
# Nothing is remembered between two ticks, so no file is written: a tick more or less does no harm.
app.conf.beat_scheduler = "celery.beat:Scheduler"
app.conf.beat_schedule = {
    # A tick that nobody took in time is worth nothing: the next one finds the same rows.
    "sweep": {
        "task": messages.SWEEP,
        "schedule": settings.sweep_seconds,
        "options": {"queue": "sweep", "expires": max(settings.sweep_seconds * 3, 10)},
    },
    "attend": {"task": messages.ATTEND, "schedule": 60, "options": {"queue": "sweep", "expires": 60}},
    "expire": {
        "task": messages.EXPIRE,
        "schedule": ASKED_SECONDS,
        # So that a beat asks as soon as it has started, and not only when it has run for so long.
        "last_run_at": datetime.fromtimestamp(0, UTC),
        "options": {"queue": "sweep", "expires": ASKED_SECONDS},
    },
}
services = PerProcess(settings, app)

#: Seconds after which an archive task is killed: so long, as a source that can't be resumed is copied in one go.
_COPY_SECONDS = 3700
#: How often a message of another app that failed, or killed its process, is tried; seconds between tries; the most.
_TRIES = 10
_TRY_SECONDS = 5
_LONGEST_TRY_SECONDS = 60
#: A message header of ours: since when the message has been over its API key's rate limit.
_SINCE = "reelhook-since"


def _is_ours(task: str) -> bool:
    """Whether this worker was started for the task's queue (`-Q`)."""
    return messages.QUEUE_OF[task] in app.amqp.queues.consume_from


@contextmanager
def _on(job_id: str) -> Iterator[tuple[Services, Begin, Onward]]:
    """What a step of a job stands on. What it leaves to be done leaves with its end."""
    s = services()
    onward = Onward(s.queue, {messages.ANNOUNCE: _announce.run} if _is_ours(messages.ANNOUNCE) else {})
    begin = Begin(s.store, s.aside, onward, s.clock, settings.deaths_until_set_aside)
    with begin.spared(job_id):
        yield s, begin, onward
    onward.go()


@app.task(
    name=messages.REQUEST, bind=True, retry_on_worker_lost=True, max_retries=_TRIES, default_retry_delay=_TRY_SECONDS
)
def _request(self: Task[Any, Any], *args: Any, **kwargs: Any) -> None:
    s, tried = services(), self.request.retries
    came = Came(args, kwargs, str(self.request.id), _since(self.request.headers))
    try:
        request(came, acceptor=s.acceptor, keys=s.keys, rates=s.rates, aside=s.aside, queue=s.queue, clock=now)
    except TooOften as wait:
        self.request.retries = tried - 1  # it is no fault that it comes again
        raise self.retry(countdown=wait.seconds, headers={_SINCE: wait.since.isoformat()}) from None
    # Whatever it is: no row knows of this message yet, so nobody else would bring it back.
    except Exception as fault:  # noqa: BLE001 - as said
        if tried >= _TRIES and not (isinstance(fault, OperationalError | MaybeStored) or is_away(fault)):
            give_up(came, f"{type(fault).__name__} after {tried} tries", aside=s.aside, clock=now)
            return
        pause = min(2**tried, _LONGEST_TRY_SECONDS)
        logger.warning("request.not_yet", reason=_words(fault), again_in=pause)
        # None would mean the task's own limit: a database that is away for longer would lose the message.
        raise self.retry(exc=fault, countdown=pause, max_retries=tried + 1) from None


def _words(fault: Exception) -> str:
    """Why a message comes again; no more than its kind of what may hold what a stranger sent."""
    return (why(fault) if isinstance(fault, SQLAlchemyError) else None) or type(fault).__name__


def _since(headers: Mapping[str, Any] | None) -> datetime | None:
    """What the header says; None where it is not ours, or no moment."""
    try:
        since = datetime.fromisoformat((headers or {}).get(_SINCE, ""))
    except (TypeError, ValueError):
        return None
    return since if since.tzinfo else None


@task_failure.connect(sender=_request)
def _request_lost(task_id: str, exception: BaseException, args: Any, kwargs: Any, **_: Any) -> None:
    """In the main process: the pool's processes died of this message, as often as they may."""
    if isinstance(exception, WorkerLostError):
        engine = make_engine(settings, application="reelhook-worker")
        try:
            reason = f"it ended its process {_TRIES + 1} times"
            give_up(Came(tuple(args), kwargs, task_id), reason, aside=Aside(engine), clock=now)
        finally:
            engine.dispose()  # what the main process holds, its next children would share


@app.task(name=messages.SUBMIT)
def _submit(job_id: str) -> None:
    with _on(job_id) as (s, begin, onward):
        submit(
            job_id,
            begin=begin,
            store=s.store,
            accounts=s.accounts,
            provider=s.provider,
            pipelines=s.pipelines,
            queue=onward,
            clock=s.clock,
        )


@app.task(name=messages.FOLLOW_UP, time_limit=_COPY_SECONDS)
def _follow_up(job_id: str) -> None:
    with _on(job_id) as (s, begin, onward):
        follow_up(
            job_id,
            begin=begin,
            store=s.store,
            accounts=s.accounts,
            provider=s.provider,
            queue=onward,
            clock=s.clock,
            onward=_go_on if _is_ours(messages.ARCHIVE) else None,
        )


def _go_on(fresh: Fresh) -> None:
    with log.bound(task_name=messages.ARCHIVE):
        _copy(fresh.job.id, fresh)


@app.task(name=messages.ARCHIVE, time_limit=_COPY_SECONDS)
def _archive(job_id: str) -> None:
    _copy(job_id)


def _copy(job_id: str, fresh: Fresh | None = None) -> None:
    with _on(job_id) as (s, begin, onward):
        archive(
            job_id,
            begin=begin,
            store=s.store,
            provider=s.provider,
            copier=s.copier,
            complaints=Complaints(s.runs, s.attention, onward, _time(s)),
            queue=onward,
            clock=_time(s),
            fresh=fresh,
        )


def _time(s: Services, *, anew: bool = False) -> DatabaseClock:
    """The database's clock, by which rows are due and leases end; a host may be minutes off."""
    if anew or not s.clock.heard:
        s.store.ask_time()
    return s.clock


@app.task(name=messages.ANNOUNCE)
def _announce(delivery_id: str) -> None:
    s = services()
    secret = settings.secret
    ways = Ways(s.guarded, s.queue, s.hands, s.link, secret, settings.delivery_timeout_seconds)
    most = settings.deaths_until_set_aside
    Announcer(s.store, s.outbox, s.subscriptions, s.attention, s.aside, ways, _time(s), most).announce(delivery_id)


@app.task(name=messages.SWEEP)
def _sweep() -> None:
    s = services()
    rows: Any = {"store": s.store, "inbox": s.inbox, "outbox": s.outbox, "accounts": s.accounts}
    clock = _time(s, anew=True)
    sweep(**rows, concurrency=s.provider.concurrency, queue=s.queue, clock=clock)
    watch(untaken=s.untaken, queue=s.queue, clock=clock)


@app.task(name=messages.ATTEND)
def _attend() -> None:
    s = services()
    clock = _time(s, anew=True)
    attend(attention=s.attention, queue=s.queue, clock=clock, accounts=s.provider.accounts)
    call_up(store=s.store, queue=s.queue)
    reach(buckets=s.store.buckets, copier=s.copier, clock=clock)


@app.task(name=messages.EXPIRE)
def _expire() -> None:
    s = services()
    clock = _time(s, anew=True)
    done = expire(
        runs=s.runs,
        retention=s.retention,
        attention=s.attention,
        queue=s.queue,
        days=settings.retention_days,
        clock=clock,
        seconds=s.slice_seconds,
    )
    if done:
        complaints = Complaints(s.runs, s.attention, s.queue, clock)
        tidy(transfers=s.store.transfers, copier=s.copier, complaints=complaints, clock=clock, places=s.places())
        catch_up(store=s.store, copier=s.copier, clock=clock, until=monotonic() + s.slice_seconds)


@setup_logging.connect
def _logs(**_: Any) -> None:
    log.configure(settings.log_level)
    # Two lines for each message, every few seconds, say nothing that our own events don't.
    for chatty in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(chatty).setLevel("WARNING")


@celeryd_after_setup.connect
def _look(**_: Any) -> None:
    """Say at once what would keep all work waiting. It is waited for: its tasks come again with each sweep."""
    engine = make_engine(settings, application="reelhook-worker", connections=1)
    try:
        reason = None if is_ready(engine) else BEHIND
    except DBAPIError as fault:
        reason = why(fault) or type(fault).__name__
    finally:
        engine.dispose()  # what the main process holds, its children would share
    if reason:
        logger.error("worker.waits", reason=reason)


@worker_before_create_process.connect
def _before_fork(**_: Any) -> None:
    services.before_fork()


@task_prerun.connect
def _bind(task_id: str, task: Any, args: tuple[Any, ...], **_: Any) -> None:
    ours = task.name.startswith(("reelhook.job", "reelhook.delivery"))
    log.bind(message=task_id, task_name=task.name, **({"subject": args[0]} if ours and args else {}))


@task_postrun.connect
def _unbind(**_: Any) -> None:
    log.unbind()
