"""Celery's way to Redis, where Redis is not there, or holds what nobody should have put into it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import pytest
from celery import Celery
from hypothesis import example, given
from hypothesis import strategies as st
from kombu import Consumer, Message
from redis import Redis
from redis.exceptions import RedisError

from infra.mark import KEY
from infra.queue import Queue
from infra.settings import Settings
from infra.stack.servers import Servers
from tests.fakes import MORNING
from tests.integration.broker_kit import PATIENCE, patient_celery
from tests.proxy import FaultProxy


@pytest.mark.parametrize("way", ["ack", "reject", "requeue"])
def test_a_message_whose_end_the_broker_did_not_hear_takes_no_place(
    settings: Settings, servers: Servers, way: str
) -> None:
    """A worker that may have one message at a time takes the next one, though the first could not be acknowledged."""
    taken: list[Message] = []
    with FaultProxy("127.0.0.1", servers.redis.port) as proxy:
        parts = urlsplit(servers.addresses.redis_url)
        url = urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{proxy.port}"))
        app = patient_celery(settings.model_copy(update={"broker_url": url}))
        try:
            with app.connection_for_read() as connection:
                channel: Any = connection.channel()
                channel.queue_purge("celery")
                channel.basic_qos(0, 1, False)
                with Consumer(channel, [app.amqp.queues["celery"]], on_message=taken.append):
                    app.send_task("nothing", queue="celery")
                    connection.drain_events(timeout=PATIENCE)
                    assert not channel.qos.can_consume()
                    proxy.refuse()
                    with pytest.raises((RedisError, OSError)):
                        taken[0].ack() if way == "ack" else taken[0].reject(requeue=way == "requeue")

                    proxy.heal()
                    second = app.send_task("nothing", queue="celery")
                    _listen(connection, taken, 2)
                    taken[1].ack()
        finally:
            app.close()

    assert second.id == taken[1].headers["id"]


def _listen(connection: Any, taken: list[Message], number: int) -> None:
    """Until so many messages are taken, as a worker does: a connection that failed is made anew, silence is the end."""
    while len(taken) < number:
        try:
            connection.drain_events(timeout=PATIENCE)
        except TimeoutError:
            raise
        except connection.connection_errors:
            continue


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[Celery]:
    """Celery as a worker has it, on a broker that answers."""
    one = patient_celery(settings)
    yield one
    one.close()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "body": st.sampled_from(["W10=", "=", {}]),
        "headers": st.fixed_dictionaries({}, optional={"task": st.sampled_from(["a", []]), "id": _JSON}) | _JSON,
        "properties": st.fixed_dictionaries(
            {}, optional={"delivery_tag": _JSON, "delivery_info": _JSON, "body_encoding": st.just("base64")}
        ),
    },
)
_JUNK = st.binary(max_size=20) | (_JSON | _ENVELOPES).map(lambda value: json.dumps(value).encode())


@given(junk=_JUNK)
@example(junk=b"not a message")
@example(junk=b'{"__type__": "datetime", "__value__": "never"}')
@example(junk=b"[" * 100_000)
@example(junk=b'{"body": "e30=", "headers": {}, "properties": {}}')
def test_bytes_that_are_no_message_end_nobody(app: Celery, junk: bytes) -> None:
    """Whatever somebody put into a queue, it is dropped, and whoever listens is given the message behind it."""
    taken: list[Message] = []
    with app.connection_for_read() as connection:
        channel: Any = connection.channel()
        channel.queue_purge("celery")
        channel.client.lpush("celery", junk)
        sent = app.send_task("nothing", queue="celery")
        with Consumer(channel, [app.amqp.queues["celery"]], on_message=taken.append):
            while not taken:
                connection.drain_events(timeout=PATIENCE)
        taken[0].ack()

        assert [sent.id] == [message.headers["id"] for message in taken]


def test_a_channel_that_was_closed_drops_no_message(app: Celery, capsys: pytest.CaptureFixture[str]) -> None:
    """Who still listens on it hears that its connection has failed; nothing is logged as bytes that are no message."""
    with app.connection_for_read() as connection:
        channel: Any = connection.channel()
        channel.queue_purge("celery")
        with Consumer(channel, [app.amqp.queues["celery"]], on_message=lambda _: None):
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.1)  # now it waits for messages
            reading, channel.client.connection = channel.client.connection, None
            with pytest.raises(connection.connection_errors):
                channel._brpop_read()
            channel.client.connection = reading
            reading.disconnect()

    assert "queue.unreadable" not in capsys.readouterr().out


def test_an_answer_that_the_client_cannot_read_ends_its_connection(app: Celery) -> None:
    """That is no message to drop: whoever listens hears of it, and goes on by a connection that can be read."""
    taken: list[Message] = []
    with app.connection_for_read() as connection:
        channel: Any = connection.channel()
        channel.queue_purge("celery")
        with Consumer(channel, [app.amqp.queues["celery"]], on_message=taken.append):
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.1)  # now it waits for messages
            channel.client.connection.read_response = lambda *_, **__: len(cast("Any", None))
            sent = app.send_task("nothing", queue="celery")
            with pytest.raises(connection.connection_errors):
                connection.drain_events(timeout=PATIENCE)
            assert not channel.client.connection.is_connected
            del channel.client.connection.read_response
            # What Redis had handed to that connection is lost: jobs are rows, and a sweep sends another message.
            again = app.send_task("nothing", queue="celery")
            while not taken:
                connection.drain_events(timeout=PATIENCE)
        taken[0].ack()

    assert taken[0].headers["id"] in {sent.id, again.id}


_HANG_UP = (b"CLIENT", b"KILL", b"SKIPME", b"yes")
#: What befalls Redis, and how it ends, as commands.
_TROUBLE: dict[str, tuple[list[tuple[bytes, ...]], tuple[bytes, ...]]] = {
    "full": ([(b"CONFIG", b"SET", b"maxmemory", b"1")], (b"CONFIG", b"SET", b"maxmemory", b"0")),
    "read-only": ([(b"REPLICAOF", b"127.0.0.1", b"1")], (b"REPLICAOF", b"NO", b"ONE")),
    "no permission": (
        [(b"ACL", b"SETUSER", b"default", b"-lpush", b"-set")],
        (b"ACL", b"SETUSER", b"default", b"+@all"),
    ),
    "another password": (
        [(b"CONFIG", b"SET", b"requirepass", b"another"), _HANG_UP],
        (b"PING",),
    ),
    "no connection free": (
        [(b"CONFIG", b"SET", b"maxclients", b"1"), _HANG_UP],
        (b"CONFIG", b"SET", b"maxclients", b"10000"),
    ),
    "a key of another kind": ([(b"DEL", b"trouble"), (b"SET", b"trouble", b"x")], (b"DEL", b"trouble")),
}


@pytest.mark.parametrize("trouble", _TROUBLE)
def test_whatever_redis_refuses_raises_nothing(servers: Servers, settings: Settings, trouble: str) -> None:
    """A message counts as not sent and a mark as not left, and both succeed as soon as the server takes them again, by
    the same process: it is full, a replica for reading only, wants another password, has no connection free, ...
    """
    begin, end = _TROUBLE[trouble]
    celery = patient_celery(settings)
    with Redis.from_url(servers.addresses.redis_url, socket_timeout=PATIENCE) as direct:
        direct.delete("trouble", KEY)
        password = direct.config_get("requirepass")["requirepass"]
        queue = Queue(celery)
        assert queue.send("nothing", "trouble", ())
        ask: Any = direct.execute_command
        try:
            for words in begin:
                ask(*words)
            hurt = queue.send("nothing", "trouble", ()), queue.mark("a", MORNING, there=False)
            queue.look(["trouble"], [])
            queue.waiting("trouble")
        finally:
            ask(*end)
            direct.config_set("requirepass", password)
        healed = queue.send("nothing", "trouble", ()), queue.mark("b", MORNING, there=hurt[1])
        direct.delete("trouble", KEY)
    celery.close()

    assert (False, trouble == "a key of another kind") == hurt
    assert (True, True) == healed
