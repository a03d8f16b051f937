"""Celery's way to Redis, with one pool of connections a channel where kombu keeps two.

kombu gives each channel one pool for what waits (BRPOP) and one for what does not, and builds a client anew for each
command. A process that only sends then holds two connections where one does, on plans that have twenty; and the
client costs more than the command. Here a channel has one pool, and one client for all that does not wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport import redis, virtual
from redis.exceptions import ConnectionError  # noqa: A004 - the one that kombu looks for

from infra.log import logger

log = logger(__name__)
#: What parsing raises where bytes are no message.
_NOT_READ = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Unreadable(ValueError):
    """What lay in a queue is no message."""


class Message(virtual.Message):
    """A message that can be counted, acknowledged and given to a task, or `Unreadable`: nobody else would look."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        try:
            super().__init__(payload, channel=channel, **options)
            words = [self.delivery_tag, self.delivery_info["exchange"], self.delivery_info["routing_key"]]
            # Without these headers it is of Celery's first protocol, which names the task in its body.
            words += [self.headers[name] for name in ("task", "id") if "task" in self.headers]
        except _NOT_READ as fault:
            raise Unreadable(type(fault).__name__) from fault
        if not all(isinstance(word, str) for word in words):
            raise Unreadable("names that are no words")


class QoS(redis.QoS):
    """What a worker was given and has not acknowledged.

    kombu counts a message until the broker has heard of its end. Where that fails, because the broker has just died, it
    counts for ever; with as many as a worker may have, it takes no more, nor looks whether its connection lives: it
    hangs until somebody restarts it. Here the count ends with the work. The broker will hand the message out again,
    which does no harm.

    And a message that comes or is done costs two commands, without a transaction around them: they leave in one packet,
    which Redis works through whether or not we live on.
    """

    @contextmanager
    def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:
        """For putting a message down, and for taking it out."""
        if pipe:
            yield pipe
            return
        with self.channel.conn_or_acquire(client) as acquired:  # type: ignore[attr-defined]  # set in its constructor
            yield acquired.pipeline(transaction=False)

    def ack(self, delivery_tag: Any) -> None:
        """It was worked on."""
        try:
            super().ack(delivery_tag)
        finally:
            self._quick_ack(delivery_tag)  # type: ignore[attr-defined]  # set in its constructor

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """It is not wanted, or not now."""
        try:
            super().reject(delivery_tag, requeue=requeue)
        finally:
            self._quick_ack(delivery_tag)  # type: ignore[attr-defined]  # set in its constructor


class Channel(redis.Channel):
    """A channel whose commands go over the connections that it has."""

    QoS = QoS
    Message = Message
    _commands: Any = None

    @property
    def pool(self) -> Any:
        """The one pool."""
        return self.async_pool

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's signature
        if asynchronous:  # it keeps a connection to itself while it waits for messages
            return _reading(super()._create_client(asynchronous=True))  # type: ignore[misc]  # the stubs leave it out
        if self._commands is None:
            self._commands = super()._create_client()  # type: ignore[misc]  # as above
        return self._commands

    def _brpop_read(self, **options: Any) -> Any:
        """Take what came. kombu lets bytes that are no message end the worker, here they are dropped."""
        if self.client.connection is None:  # closed meanwhile: kombu would disconnect what is not there
            self._in_poll = None
            raise ConnectionError("the channel is closed")
        transport: Any = self.connection
        handed = transport.handed
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # as above
        except _NOT_READ as fault:
            if transport.handed != handed:  # it was read: this is an error of whoever got it
                raise
            _dropped(fault)
            return True

    def _disconnect_pools(self) -> None:
        # After a fork, too: a client made before holds a pool that is gone.
        self._commands = None
        super()._disconnect_pools()  # type: ignore[misc]  # as above


class Transport(redis.Transport):
    """kombu's own, with our channels. Celery takes it by name: `infra.redis_transport:Transport`."""

    Channel = Channel
    handed = 0  #: messages given to consumers, or being given

    def _deliver(self, message: Any, queue: str | None) -> None:
        self.handed += 1
        try:
            super()._deliver(message, queue)
        except Unreadable as fault:
            _dropped(fault)


def _reading(client: Any) -> Any:
    """The same client. What it can't read of an answer, or of a connection that it has no more, is no word about any
    message: it is a connection that failed, which is made anew.
    """
    parse = client.parse_response

    def parse_response(*args: Any, **options: Any) -> Any:
        try:
            return parse(*args, **options)
        except _NOT_READ as fault:
            raise ConnectionError(f"no answer that can be read: {type(fault).__name__}") from fault

    client.parse_response = parse_response
    return client


def _dropped(fault: Exception) -> None:
    log.error("queue.unreadable", reason=type(fault).__name__, detail=str(fault.__cause__ or "")[:80])
