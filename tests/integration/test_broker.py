"""Celery's way to Redis, where Redis is not there."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from kombu import Consumer, Message
from redis.exceptions import RedisError

from infra.queue import make_celery
from infra.settings import Settings
from infra.stack.servers import Servers
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
        app = make_celery(settings.model_copy(update={"broker_url": url}))
        try:
            with app.connection_for_read() as connection:
                channel: Any = connection.channel()
                channel.basic_qos(0, 1, False)
                with Consumer(channel, [app.amqp.queues["celery"]], on_message=taken.append):
                    app.send_task("nothing", queue="celery")
                    connection.drain_events(timeout=5)
                    assert not channel.qos.can_consume()
                    proxy.refuse()
                    with pytest.raises((RedisError, OSError)):
                        taken[0].ack() if way == "ack" else taken[0].reject(requeue=way == "requeue")

                    assert channel.qos.can_consume()
                    proxy.heal()
                    channel.queue_purge("celery")
        finally:
            app.close()
