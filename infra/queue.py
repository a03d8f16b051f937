"""The broker, as a hint: a message that is lost costs one sweep, so no caller ever waits long for it."""

from __future__ import annotations

import mmap
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from celery import Celery, bootsteps
from kombu.exceptions import KombuError, OperationalError
from kombu.utils.uuid import uuid

from infra import mark
from infra.log import logger
from infra.settings import Settings

log = logger(__name__)

_Answer = TypeVar("_Answer")
#: Seconds that a message may stay with a worker before another gets it. Far above the longest slice of work.
VISIBILITY_SECONDS = 300
#: Seconds that RabbitMQ may take to say that it has a message.
_CONFIRM_SECONDS = 5
#: Seconds that a worker which must end may take to do so.
_HANG_SECONDS = 3
#: One byte that the processes of a worker share, made before they are: whether it is to end.
_ENDING = mmap.mmap(-1, 1)
#: Characters of a message's arguments that are shown beside it.
_SHOWN = 200


def make_celery(settings: Settings, name: str = "reelhook") -> Celery:
    """A Celery app without results, chords or priorities: rows hold all that."""
    app = Celery(name, broker=settings.broker_url, set_as_current=False)
    # RabbitMQ says of each message that it has it; a broker that takes no more bytes is given up.
    options: dict[str, object] = {"confirm_publish": True, "write_timeout": 5}
    on_redis = settings.broker_url.startswith("redis")
    if on_redis:
        options = {
            "visibility_timeout": VISIBILITY_SECONDS,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "socket_timeout": 5,  # without it a broker that accepts and never replies blocks for good
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 15,
        }
    app.conf.update(
        broker_transport="infra.redis_transport:Transport" if on_redis else None,
        broker_transport_options=options,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=1,
        broker_pool_acquire_timeout=3,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.2},
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # It holds four connections of a plan that may have twenty; rows and logs say what a worker does.
        worker_enable_remote_control=False,
        worker_soft_shutdown_timeout=max(settings.shutdown_grace_seconds - 8, 2),
        worker_cancel_long_running_tasks_on_connection_loss=not on_redis,
        task_time_limit=VISIBILITY_SECONDS - 60,
        enable_utc=True,
    )
    app.steps["worker"].add(EndInTime)
    return app


class EndInTime(bootsteps.StartStopStep):
    """A worker that ends has ended soon, whatever hangs: one that lives on without work would never be replaced.

    Celery stops itself after an error in its loop that it can't tell from its own end, and can then wait for its pool
    for ever.
    Work that is cut off is found by the sweep.
    """

    requires = ("celery.worker.components:Pool",)

    def stop(self, parent: Any) -> None:
        """It ends in good order, or because of an error that it can't survive: then nothing is worth waiting for."""
        _ENDING[0] = 1
        _end_after(_HANG_SECONDS if parent.exitcode else parent.app.conf.worker_soft_shutdown_timeout)

    def terminate(self, _parent: Any) -> None:
        """Its patience is over."""
        _end_after(_HANG_SECONDS)


def is_ending() -> bool:
    """Whether the worker that this process belongs to is to end; asked by what would take longer than it has."""
    return _ENDING[0] != 0


def _end_after(seconds: float) -> None:
    # Not sys.exit: that would join the very threads that hang.
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()


class Queue:
    """Sends a task by its name. Raises nothing: what could not be sent is logged, and the sweep will send it."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._on_redis = app.conf.broker_transport is not None
        # A RabbitMQ that is short of memory or disk reads no further, and confirms nothing.
        self._confirmed = {} if self._on_redis else {"confirm_timeout": _CONFIRM_SECONDS}

    def send(self, task: str, queue_name: str, args: Sequence[Any], task_id: str | None = None) -> bool:
        """Whether the broker took the message. `task_id`: of one that may be a repetition.

        It is what `send_task` sends, without what that looks up: routes, a result, whose task this is.
        """
        amqp = self._app.amqp
        made = amqp.as_task_v2(task_id or uuid(), task, tuple(args), {}, argsrepr=repr(args)[:_SHOWN], kwargsrepr="{}")
        message: dict[str, Any] = {
            "body": made.body,
            "exchange": "",  # the one that leads to every queue by its name
            "routing_key": queue_name,
            "headers": made.headers,
            "serializer": "json",
            "delivery_mode": 2,
            "retry": True,
            "retry_policy": self._app.conf.task_publish_retry_policy,
            **self._confirmed,
            **made.properties,
        }
        try:
            with self._app.producer_or_acquire() as producer:
                if not self._on_redis:
                    _await_queue(producer.connection, queue_name, anew=task_id is not None)
                _unbroken(producer.connection, lambda _: producer.publish(**message))
        except (KombuError, OSError, TimeoutError) as fault:
            log.warning("queue.unsent", task=task, reason=type(fault).__name__)
            return False
        return True

    def waiting(self, queue_name: str) -> int | None:
        """How many messages lie in a queue that nobody has taken; None where the broker does not say."""
        return self._asked(lambda connection: _length(connection, queue_name), f"length of {queue_name}")

    def look(self, queues: Sequence[str], marks: Sequence[str]) -> mark.Look | None:
        """What lies in other apps' queues, and which of these marks in the broker; None where it does not say."""
        if self._on_redis:
            return self._asked(lambda connection: mark.look_at_redis(connection.default_channel, queues), "look")
        return self._asked(lambda connection: mark.look_at_amqp(connection, queues, marks), "look")

    def mark(self, name: str, at: datetime, *, there: bool) -> bool:
        """Leave a mark in place of one that is `there`, or where there is none; whether that could be done."""
        if self._on_redis:
            leave = partial(mark.mark_redis, name=name, at=at, there=there)
            return bool(self._asked(lambda connection: leave(connection.default_channel), "mark"))
        # There it has no time. One that is gone since it was seen is a loss, which a new one would hide.
        return there or bool(self._asked(lambda connection: mark.mark_amqp(connection, name), "mark"))

    def _asked(self, ask: Callable[[Any], _Answer], what: str) -> _Answer | None:
        """What the broker says to a question; None where it can't be asked."""
        pool: Any = self._app.pool
        try:
            with pool.acquire(block=True, timeout=3) as connection:
                connection.ensure_connection(max_retries=1)
                return _unbroken(connection, ask)
        except (KombuError, OSError, TimeoutError) as fault:
            log.warning("queue.unknown", question=what, reason=type(fault).__name__)
            return None

    def prepare(self) -> None:
        """Load what sending takes, without sending: the broker's client is a fifth of a second of imports."""
        self._app.connection_for_write().get_transport_cls()
        self._app.amqp  # noqa: B018 - a property that is made when it is first looked at

    def close(self) -> None:
        """Give the connections back."""
        self._app.close()


def _unbroken(connection: Any, ask: Callable[[Any], _Answer]) -> _Answer:
    # Raised as one kind, and begun anew the next time, whichever broker it is.
    broken: tuple[type[Exception], ...] = (KombuError, *connection.connection_errors, *connection.channel_errors)
    try:
        return ask(connection)
    except broken as fault:
        # Without a word to the server: one that reads no further would never answer it.
        connection.collect()
        raise OperationalError(str(fault)) from fault


def _await_queue(connection: Any, queue_name: str, *, anew: bool) -> None:
    """RabbitMQ keeps a message only where a queue is: see to it that it is there. `anew`: also where it once was."""
    connection.ensure_connection(max_retries=1)
    if anew or queue_name not in connection.declared_entities:
        _unbroken(connection, lambda one: mark.ensure_queue(one, queue_name))
        connection.declared_entities.add(queue_name)


def _length(connection: Any, queue_name: str) -> int:
    # As workers declare it: where it is there already, that only counts.
    declared = connection.default_channel.queue_declare(queue=queue_name, durable=True, auto_delete=False)
    return int(declared.message_count)


class BackgroundQueue:
    """A `Queue` for the door: a request hands its message over and goes on; a thread talks to the broker.

    What waits is bounded, and after a failure nothing is tried for some seconds: while the broker is down the door
    answers as fast as ever, and the rows that it wrote are found by the sweep.
    """

    _WAITING = 1000
    _REST_SECONDS = 5.0

    def __init__(self, inner: Queue) -> None:
        self._inner = inner
        self._waiting: queue.Queue[tuple[str, str, Sequence[Any], str | None]] = queue.Queue(self._WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._rest_until = 0.0

    def send(self, task: str, queue_name: str, args: Sequence[Any], task_id: str | None = None) -> bool:
        """Whether the message waits to be sent; returns at once."""
        if time.monotonic() < self._rest_until:
            return False
        self._ensure_thread()
        try:
            self._waiting.put_nowait((task, queue_name, args, task_id))
        except queue.Full:
            return False
        return True

    def prepare(self) -> None:
        """As `Queue` does."""
        self._inner.prepare()

    def _ensure_thread(self) -> None:
        # Started on first use: a thread made before a fork does not live in the child.
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="nudges", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            message = self._waiting.get()
            if time.monotonic() >= self._rest_until and not self._inner.send(*message):
                self._rest_until = time.monotonic() + self._REST_SECONDS
