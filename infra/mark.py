"""A mark in the broker that goes when its content goes, and how much lies in queues, read together.

Redis: one key, whose value names the mark and says when it was left. RabbitMQ keeps what it confirmed, or loses all of
it with its disk: there an empty durable queue of the mark's name is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

#: The key in Redis; in RabbitMQ the beginning of a queue's name.
KEY = "reelhook.mark"


@dataclass(frozen=True)
class Look:
    """What a broker showed at one moment."""

    waiting: Mapping[str, int | None]  #: messages that nobody has taken, by queue; None: there is no such queue
    mark: str | None  #: its name; None: there is none
    marked_at: datetime | None = None  #: None where a mark has no time
    server: str | None = None  #: of one life of a server
    evicted: int | None = None  #: keys that it threw away since its start
    evicts: bool = False  #: whether it throws away keys that have no end


def look_at_redis(channel: Any, queues: Sequence[str]) -> Look:
    """One round trip. The queues come first: one that is empty because of a wipe is seen without its mark."""
    pipe = channel.client.pipeline(transaction=False)
    for name in queues:
        pipe.llen(name)
    *counts, mark, said = pipe.get(KEY).info().execute(raise_on_error=False)
    if isinstance(mark, Exception):
        raise mark
    waiting = {name: count if isinstance(count, int) else 0 for name, count in zip(queues, counts, strict=True)}
    name, _, at = (mark or b"").decode(errors="replace").partition(" ")
    about = said if isinstance(said, dict) else {}  # some who sell Redis keep that to themselves
    evicts = str(about.get("maxmemory_policy", "")).startswith("allkeys")
    return Look(waiting, name or None, _moment(at), about.get("run_id"), about.get("evicted_keys"), evicts)


def mark_redis(channel: Any, name: str, at: datetime, *, there: bool) -> bool:
    """Leave a mark where `there` is one, or is none; False: that has changed meanwhile."""
    return bool(channel.client.set(KEY, f"{name} {at.isoformat()}", xx=there, nx=not there))


def look_at_amqp(connection: Any, queues: Sequence[str], names: Sequence[str]) -> Look:
    """The same by asking for each queue, and for each mark of these `names` until one is found."""
    waiting = {name: _count(connection, name) for name in queues}
    found = (name for name in names if _count(connection, f"{KEY}.{name}") is not None)
    return Look(waiting, next(found, None))


def mark_amqp(connection: Any, name: str) -> bool:
    """Leave a mark, where there is none."""
    on_channel(connection, lambda channel: channel.queue_declare(f"{KEY}.{name}", durable=True, auto_delete=False))
    return True


def ensure_queue(connection: Any, name: str) -> None:
    """Make a queue where there is none. One that is there stays as its owner made it: quorum, with priorities, ..."""
    if _count(connection, name) is None:
        on_channel(connection, lambda channel: channel.queue_declare(name, durable=True, auto_delete=False))


def _count(connection: Any, name: str) -> int | None:
    """How many messages lie in a queue, however it was declared; None where there is none."""
    try:
        return int(on_channel(connection, lambda channel: channel.queue_declare(name, passive=True)).message_count)
    except connection.channel_errors as fault:
        if getattr(fault, "reply_code", None) == 404:
            return None
        raise


def on_channel(connection: Any, ask: Callable[[Any], Any]) -> Any:
    """Ask on a channel of its own: one on which something is refused is closed by the server."""
    channel = connection.channel()
    try:
        return ask(channel)
    finally:
        channel.close()


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
