"""The broker fails, or holds what nobody should have put there."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import uuid
from contextlib import suppress
from itertools import cycle

from celery import Celery

from infra.stack.process import wait_until
from tests.chaos.neighbour import neighbour, told
from tests.chaos.world import TEXT, World
from worker import messages

#: How long an app waits for its orders before it sends them again.
_PATIENCE_SECONDS = 10


def redis_down(world: World, jobs: int, seconds: int) -> None:
    """Nobody listens at the broker's address."""
    with world.load(jobs, every=0.5):
        time.sleep(1)
        world.proxies["redis"].refuse()
        time.sleep(seconds)
        world.proxies["redis"].heal()


def redis_wiped(world: World, jobs: int, rounds: int) -> None:
    """FLUSHALL: every message, every binding and every unacknowledged task is gone, and what another app, whose worker
    is away, was told.
    """
    with told(world, max(jobs // 5, 3)) as await_told, world.load(jobs, every=0.2):
        for _ in range(rounds):
            time.sleep(1.5)
            with world.redis() as broker:
                broker.flushall()
        await_told()
        with world.redis() as broker:
            broker.flushall()


def redis_restarted(world: World, jobs: int, rounds: int) -> None:
    """The broker dies without having written anything, and comes back empty."""
    with told(world, max(jobs // 5, 3)) as await_told, world.load(jobs, every=0.3):
        for _ in range(rounds):
            time.sleep(2)
            await_told()
            world.deployment.servers.redis.kill()
            world.run.kills += 1
            time.sleep(1)
            world.deployment.servers.redis.start()


def redis_blackholed(world: World, jobs: int, seconds: int) -> None:
    """The broker's address takes connections and never says a word."""
    with world.load(jobs, every=0.5):
        time.sleep(1)
        world.proxies["redis"].blackhole()
        time.sleep(seconds)
        world.proxies["redis"].heal()


def redis_full(world: World, jobs: int, seconds: int) -> None:
    """The broker's memory is used up: it answers every write with an error (noeviction)."""
    with world.load(jobs, every=0.5), world.redis() as broker:
        time.sleep(1)
        broker.config_set("maxmemory-policy", "noeviction")
        broker.config_set("maxmemory", "1")
        time.sleep(seconds)
        broker.config_set("maxmemory", "0")


def redis_evicts(world: World, jobs: int, seconds: int) -> None:
    """The broker's memory is used up, and it throws away what was not used for the longest time: our queues."""
    with told(world, max(jobs // 5, 3)) as await_told, world.load(jobs, every=0.3), world.redis() as broker:
        await_told()
        broker.config_set("maxmemory-policy", "allkeys-lru")
        broker.config_set("maxmemory", str(broker.info("memory")["used_memory"] - 1))
        time.sleep(seconds)
        broker.config_set("maxmemory", "0")


def redis_crowded(world: World, jobs: int, seconds: int) -> None:
    """The broker takes no further connection, and those that it had are gone."""
    with world.load(jobs, every=0.5), world.redis() as broker:
        time.sleep(1)
        broker.config_set("maxclients", "1")
        world.proxies["redis"].drop()
        time.sleep(seconds)
        broker.config_set("maxclients", "10000")


def connections_killed(world: World, jobs: int, seconds: int) -> None:
    """CLIENT KILL on one of our connections several times a second, and each second on all of them."""
    with world.load(jobs, every=0.3), world.redis() as broker:
        end = time.monotonic() + seconds
        for count in cycle((1, 1, 1, 100)):
            if time.monotonic() > end:
                break
            ours = [client["id"] for client in broker.client_list(_type="normal")]
            for client in random.sample(ours, min(count, len(ours))):
                world.run.kills += broker.client_kill_filter(_id=client, skipme=True)
            time.sleep(0.25)


def messages_twice(world: World, jobs: int, rounds: int) -> None:
    """Whatever lies in a queue lies there three times: the worker is held while copies are put beside it."""
    with world.load(jobs, every=0.05, prompt="a cat [fate: callback_twice]"):
        for _ in range(rounds):
            _held(world, signal.SIGSTOP)
            time.sleep(1.5)
            with world.redis() as broker:
                for queue in messages.QUEUES:
                    for body in broker.lrange(queue, 0, -1):
                        broker.lpush(queue, _copy(body), _copy(body))
            _held(world, signal.SIGCONT)
            time.sleep(1)


def _held(world: World, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, KeyError):
        os.killpg(world.deployment.pids["worker"], number)


def _copy(body: bytes) -> bytes:
    message = json.loads(body)
    message["properties"]["delivery_tag"] = str(uuid.uuid4())
    return json.dumps(message).encode()


def orders_by_message(world: World, jobs: int, rounds: int) -> None:
    """Another app asks by messages: first without ids of its own, while children of the pool die and the database
    refuses; then with ids, while whole workers die, and sends again what has not become a job.
    """
    half = jobs // 2
    with neighbour(world) as app:
        _none_lost(world, app, jobs - half, rounds)
        _lost_sent_again(world, app, half, rounds)


def _none_lost(world: World, app: Celery, jobs: int, rounds: int) -> None:
    before = {row["id"] for row in world.rows("select id from jobs")}
    for turn in range(jobs):
        _order(app, TEXT)
        if turn % max(jobs // rounds, 1) == 0:
            world.kill_child("worker")
        if turn == jobs // 2:
            world.proxies["postgres"].refuse()
        time.sleep(0.2)
    time.sleep(5)
    world.proxies["postgres"].heal()
    world.is_healed()

    def made() -> list[str]:
        return [row["id"] for row in world.rows("select id from jobs") if row["id"] not in before]

    wait_until(lambda: len(made()) >= jobs, 60, pause=0.5)
    world.run.jobs += made()
    if len(made()) != jobs:
        world.run.faults.append(f"{jobs} messages became {len(made())} jobs")


def _lost_sent_again(world: World, app: Celery, jobs: int, rounds: int) -> None:
    requests = {name: {**TEXT, "external_task_id": name} for name in (uuid.uuid4().hex for _ in range(jobs))}
    for turn, request in enumerate(requests.values()):
        _order(app, request)
        if turn % max(jobs // rounds, 1) == 0:
            world.kill("worker")
        time.sleep(0.2)
    world.is_healed()

    def made() -> dict[str, str]:
        rows = world.rows("select id, external_task_id from jobs where external_task_id is not null")
        return {row["external_task_id"]: row["id"] for row in rows if row["external_task_id"] in requests}

    # What a dead worker had taken comes back after minutes, or never; its id makes it one job with what is sent now.
    wait_until(lambda: len(made()) == jobs, _PATIENCE_SECONDS, pause=0.5)
    for name in requests.keys() - made().keys():
        _order(app, requests[name])
    wait_until(lambda: len(made()) == jobs, 60, pause=0.5)
    world.run.jobs += made().values()
    if len(made()) != jobs:
        world.run.faults.append(f"{jobs} messages, sent again where need was, became {len(made())} jobs")


def _order(app: Celery, request: dict[str, str]) -> None:
    app.send_task(messages.REQUEST, queue="submit", kwargs={"family": "videos/omni-video", "request": request})


def poison(world: World, jobs: int, _rounds: int) -> None:
    """On our queues lie a task that nobody knows, wrong arguments, and ids that nobody has."""
    with world.load(jobs, every=0.2), neighbour(world) as app:
        for queue in messages.QUEUES:
            app.send_task("reelhook.of.tomorrow.v9", args=["x"], queue=queue)
            app.send_task(messages.SUBMIT, args=[], queue=queue)
            app.send_task(messages.SUBMIT, args=["a", "b", "c"], kwargs={"d": 1}, queue=queue)
            app.send_task(messages.ARCHIVE, args=[{"no": "id"}], queue=queue)
            app.send_task(messages.ANNOUNCE, args=["msg_\0"], queue=queue)
            app.send_task(messages.FOLLOW_UP, args=["nobody"], queue=queue)


def poison_bytes(world: World, jobs: int, rounds: int) -> None:
    """Bytes that are no message at all: whoever takes them drops them, and goes on."""
    worker = world.deployment.pids["worker"]
    with world.load(jobs, every=0.2), world.redis() as broker:
        for queue in messages.QUEUES[:rounds]:
            broker.lpush(queue, b"not a message", b"{}", b'{"body": "e30=", "headers": {}, "properties": {}}')
    world.settle(60)
    if world.deployment.pids.get("worker") != worker:
        world.run.faults.append("bytes that are no message ended the worker")
