"""Another app on the broker that fails: it asks by messages, and its own task is told. Its worker is away meanwhile."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from infra.queue import make_celery
from infra.settings import load
from infra.stack.process import wait_until
from tests.chaos.world import TEXT, World
from worker import messages

#: How long the app waits for its orders before it sends them again, and for what it is to be told once it works again.
_PATIENCE_SECONDS = 10
_TOLD_SECONDS = 100
_QUEUE, _TASK = "neighbour", "neighbour.done"


@contextmanager
def neighbour(world: World) -> Iterator[Celery]:
    """Its Celery."""
    app = make_celery(load({**world.deployment._make_runner()._env, "REDIS_URL": world.direct_redis}))
    try:
        yield app
    finally:
        app.close()


@contextmanager
def told(world: World, jobs: int) -> Iterator[Callable[[], None]]:
    """Jobs of the app run while the block does; its worker comes back after it, and must hear of each, under one id.

    What the block is given waits until the broker has taken something for the app: then its loss is one.
    """
    with neighbour(world) as app:
        made = _made(world, app, [uuid.uuid4().hex for _ in range(jobs)])
        yield partial(_await_told, world)
        heard: dict[str, set[str]] = {}

        def is_heard() -> bool:
            _work(world, heard)
            return made <= heard.keys()

        world.is_healed()
        wait_until(is_heard, _TOLD_SECONDS, pause=0.5)
    untold, ids = made - heard.keys(), {job: ids for job, ids in heard.items() if len(ids) > 1}
    world.run.faults += [f"{job}: the app that asked by a message was never told" for job in untold]
    world.run.faults += [f"{job}: one event under {len(several)} ids" for job, several in ids.items()]


def _await_told(world: World) -> None:
    def lies_there() -> bool:
        with suppress(RedisError), world.redis() as broker:
            return bool(broker.llen(_QUEUE))
        return False

    assert wait_until(lies_there, _TOLD_SECONDS, pause=0.1), "the other app was told nothing"


def _made(world: World, app: Celery, names: list[str]) -> set[str]:
    """The jobs of new orders. One that is lost with its message is sent again."""
    on_done = {"task": _TASK, "queue": _QUEUE}

    def rows() -> dict[str, str]:
        found = world.rows("select id, external_task_id from jobs where external_task_id = any(%s)", names)
        return {row["external_task_id"]: row["id"] for row in found}

    while len(made := rows()) < len(names):
        for name in [name for name in names if name not in made]:
            with suppress(KombuError, OSError):
                body = {**TEXT, "external_task_id": name}
                app.send_task(
                    messages.REQUEST,
                    queue="submit",
                    kwargs={"family": "videos/omni-video", "request": body, "on_done": on_done},
                )
        wait_until(lambda: len(rows()) == len(names), _PATIENCE_SECONDS, pause=0.1)
    world.run.jobs += made.values()
    return {*made.values()}


def _work(world: World, heard: dict[str, set[str]]) -> None:
    """Take all that lies there, as its worker would."""
    with suppress(RedisError), world.redis() as broker:
        while message := broker.rpop(_QUEUE):
            task = json.loads(message)
            ((event,), _, _) = json.loads(base64.b64decode(task["body"]))
            heard.setdefault(event["data"]["task_id"], set()).add(task["headers"]["id"])
