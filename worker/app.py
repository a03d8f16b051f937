"""Celery's entry: `celery -A worker.app worker` and `celery -A worker.app beat`.

Each task is three lines: a name from the contract, the verb, what the verb is handed.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from celery.signals import setup_logging, task_postrun, task_prerun
from kombu import Queue as Declared

from infra import log
from infra.queue import make_celery
from infra.settings import BadSettings, load
from worker import messages
from worker.services import PerProcess, Services, accounts, now
from worker.tasks.announce import Announcer, Ways
from worker.tasks.archive import archive
from worker.tasks.attend import attend
from worker.tasks.begin import Begin
from worker.tasks.expire import expire
from worker.tasks.follow_up import follow_up
from worker.tasks.request import request
from worker.tasks.submit import submit
from worker.tasks.sweep import sweep
from worker.tasks.tidy import tidy

try:
    settings = load()
    accounts(settings)
except BadSettings as fault:
    sys.exit(str(fault))

app = make_celery(settings)
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
    "expire": {"task": messages.EXPIRE, "schedule": 3600, "options": {"queue": "sweep", "expires": 1800}},
}
services = PerProcess(settings, app)


def _begin(s: Services) -> Begin:
    return Begin(s.store, s.aside, s.queue, now, settings.deaths_until_set_aside)


@app.task(name=messages.REQUEST)
def _request(*args: Any, **kwargs: Any) -> None:
    s = services()
    request(args, kwargs, acceptor=s.acceptor, keys=s.keys, aside=s.aside, queue=s.queue, clock=now)


@app.task(name=messages.SUBMIT)
def _submit(job_id: str) -> None:
    s = services()
    submit(
        job_id,
        begin=_begin(s),
        store=s.store,
        accounts=s.accounts,
        provider=s.provider,
        pipelines=s.pipelines,
        queue=s.queue,
        clock=now,
    )


@app.task(name=messages.FOLLOW_UP)
def _follow_up(job_id: str) -> None:
    s = services()
    follow_up(
        job_id, begin=_begin(s), store=s.store, accounts=s.accounts, provider=s.provider, queue=s.queue, clock=now
    )


@app.task(name=messages.ARCHIVE)
def _archive(job_id: str) -> None:
    s = services()
    archive(job_id, begin=_begin(s), store=s.store, provider=s.provider, copier=s.copier, queue=s.queue, clock=now)


@app.task(name=messages.ANNOUNCE)
def _announce(delivery_id: str) -> None:
    s = services()
    secret = settings.secret_key.get_secret_value().encode()
    ways = Ways(s.guarded, s.queue, s.hands, s.link, secret, settings.delivery_timeout_seconds)
    Announcer(s.store, s.outbox, s.subscriptions, s.attention, ways, now).announce(delivery_id)


@app.task(name=messages.SWEEP)
def _sweep() -> None:
    s = services()
    sweep(store=s.store, outbox=s.outbox, queue=s.queue, clock=now)


@app.task(name=messages.ATTEND)
def _attend() -> None:
    s = services()
    attend(attention=s.attention, queue=s.queue, clock=now)


@app.task(name=messages.EXPIRE)
def _expire() -> None:
    s = services()
    expire(
        retention=s.retention,
        attention=s.attention,
        queue=s.queue,
        days=settings.retention_days,
        clock=now,
        seconds=s.slice_seconds,
    )
    tidy(transfers=s.store.transfers, bucket=s.bucket, clock=now, prefixes=s.places())


@setup_logging.connect
def _logs(**_: Any) -> None:
    log.configure(settings.log_level)
    # Two lines for each message, every few seconds, say nothing that our own events don't.
    for chatty in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(chatty).setLevel("WARNING")


@task_prerun.connect
def _bind(task_id: str, task: Any, args: tuple[Any, ...], **_: Any) -> None:
    ours = task.name.startswith(("reelhook.job", "reelhook.delivery"))
    log.bind(message=task_id, task_name=task.name, **({"subject": args[0]} if ours and args else {}))


@task_postrun.connect
def _unbind(**_: Any) -> None:
    log.unbind()
