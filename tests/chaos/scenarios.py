"""What a production day brings, one function each: load comes in, something fails, something heals."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import requests

from infra.queue import make_celery
from infra.settings import load
from tests.chaos.world import World, until
from worker import messages
from worker.jobs.model import State
from worker.jobs.tokens import callback_token

_ARCHIVED = frozenset({State.ARCHIVED})


@dataclass(frozen=True)
class Scenario:
    """`play` gets the world and how hard to try: jobs, and seconds or repetitions of the fault."""

    play: Callable[[World, int, int], None]
    jobs: int
    rounds: int
    ends: frozenset[State] = _ARCHIVED
    seconds: float = 120  #: in which everything must have recovered
    by_name_only: bool = False  #: too long for every day


def _varied(least: float, most: float) -> float:
    return random.uniform(least, most)  # noqa: S311 - it spreads faults over time, and guards nothing


def calm(world: World, jobs: int, _rounds: int) -> None:
    """Nothing fails: what the others are compared with."""
    world.submit(jobs, every=0.05)


# --- process death ----------------------------------------------------------------------------------------------
def worker_killed(world: World, jobs: int, rounds: int) -> None:
    """SIGKILL the worker, its main process or one of its pool, again and again under load."""
    with world.load(jobs, every=0.3):
        for turn in range(rounds):
            time.sleep(_varied(1.5, 3.5))
            pid = world.deployment.pids.get("worker")
            if turn % 3 == 2:
                world.kill_child("worker")
            else:
                world.kill("worker")
                world.await_new("worker", pid)


def web_killed(world: World, jobs: int, rounds: int) -> None:
    """SIGKILL the door while callbacks pour in: the tasks of many jobs end together, each calling twice."""
    with world.load(jobs, every=0.05, prompt="a cat [fate: callback_twice]"):
        for _ in range(rounds):
            time.sleep(_varied(0.8, 2))
            pid = world.deployment.pids.get("web")
            world.kill("web")
            world.await_new("web", pid)


def web_child_killed(world: World, jobs: int, rounds: int) -> None:
    """SIGKILL what serves behind gunicorn's arbiter."""
    with world.load(jobs, every=0.1, prompt="a cat [fate: callback_twice]"):
        for _ in range(rounds):
            time.sleep(1)
            world.kill_child("web")


def beat_killed(world: World, jobs: int, rounds: int) -> None:
    """SIGKILL beat while half of the jobs get no callback, so that only sweeps move them."""
    with world.load(jobs, every=0.1, prompt="a cat [fate: no_callback]"):
        for _ in range(rounds):
            pid = world.deployment.pids.get("beat")
            world.kill("beat")
            world.await_new("beat", pid)
            time.sleep(2)


def terminated(world: World, jobs: int, rounds: int) -> None:
    """SIGTERM to every process of every group at once, while a file is slowly copied."""
    _terminated(world, jobs, rounds, times=1)


def terminated_twice(world: World, jobs: int, rounds: int) -> None:
    """The same, and a second SIGTERM one second later."""
    _terminated(world, jobs, rounds, times=2)


def _terminated(world: World, jobs: int, rounds: int, *, times: int) -> None:
    world.fault("cdn", "slow=60000", 4)
    with world.load(jobs, every=0.3):
        for _ in range(rounds):
            time.sleep(3)
            world.terminate_all(times=times)
            world.await_door()


def deploys(world: World, jobs: int, rounds: int) -> None:
    """A deploy every few seconds: the next version comes up, everything old is asked to stop."""
    with world.load(jobs, every=0.5):
        for _ in range(rounds):
            with world.second_version():
                time.sleep(4)
                world.terminate_all()
                world.await_door()


def two_versions(world: World, jobs: int, _rounds: int) -> None:
    """Two beats and two workers share the rows and the broker."""
    with world.second_version() as other:
        until(lambda: len(other.pids) == 2)
        time.sleep(4)
        world.submit(jobs, every=0.1, prompt="a cat [fate: callback_twice]")
        world.settle(60)


def headline(world: World, jobs: int, rounds: int) -> None:
    """A stream of jobs through SIGKILLs of worker, web and beat in turn, and a wiped broker after every tenth."""
    with world.load(jobs, every=0.15):
        for turn in range(rounds):
            name = ("worker", "web", "worker", "beat")[turn % 4]
            pid = world.deployment.pids.get(name)
            world.kill(name)
            world.await_new(name, pid)
            time.sleep(_varied(2, 5))
            if turn % 10 == 9:
                with world.redis() as broker:
                    broker.flushall()


# --- the broker -------------------------------------------------------------------------------------------------
def redis_down(world: World, jobs: int, seconds: int) -> None:
    """Nobody listens at the broker's address."""
    with world.load(jobs, every=0.5):
        time.sleep(1)
        world.proxies["redis"].refuse()
        time.sleep(seconds)
        world.proxies["redis"].heal()


def redis_wiped(world: World, jobs: int, rounds: int) -> None:
    """FLUSHALL: every message, every binding and every unacknowledged task is gone."""
    with world.load(jobs, every=0.2):
        for _ in range(rounds):
            time.sleep(1.5)
            with world.redis() as broker:
                broker.flushall()


def redis_restarted(world: World, jobs: int, rounds: int) -> None:
    """The broker dies without having written anything, and comes back empty."""
    with world.load(jobs, every=0.3):
        for _ in range(rounds):
            time.sleep(2)
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


def redis_crowded(world: World, jobs: int, seconds: int) -> None:
    """The broker takes no further connection, and those that it had are gone."""
    with world.load(jobs, every=0.5), world.redis() as broker:
        time.sleep(1)
        broker.config_set("maxclients", "1")
        world.proxies["redis"].drop()
        time.sleep(seconds)
        broker.config_set("maxclients", "10000")


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


def poison(world: World, jobs: int, _rounds: int) -> None:
    """On our queues lie a task that nobody knows, wrong arguments, and ids that nobody has."""
    broker_url = world.deployment.access.servers.redis_url
    with world.load(jobs, every=0.2):
        app = make_celery(load({**world.deployment._make_runner()._env, "REDIS_URL": broker_url}))
        for queue in messages.QUEUES:
            app.send_task("reelhook.of.tomorrow.v9", args=["x"], queue=queue)
            app.send_task(messages.SUBMIT, args=[], queue=queue)
            app.send_task(messages.SUBMIT, args=["a", "b", "c"], kwargs={"d": 1}, queue=queue)
            app.send_task(messages.ARCHIVE, args=[{"no": "id"}], queue=queue)
            app.send_task(messages.ANNOUNCE, args=["msg_\0"], queue=queue)
            app.send_task(messages.FOLLOW_UP, args=["nobody"], queue=queue)
        app.close()


def poison_bytes(world: World, jobs: int, rounds: int) -> None:
    """Bytes that are no message at all: each may end the worker that takes it, none may keep it from coming back."""
    with world.load(jobs, every=0.2), world.redis() as broker:
        for queue in messages.QUEUES[:rounds]:
            broker.lpush(queue, b"not a message", b"{}", b'{"body": "e30=", "headers": {}, "properties": {}}')


# --- the database -----------------------------------------------------------------------------------------------
def postgres_restarted(world: World, jobs: int, rounds: int) -> None:
    """The database crashes, recovers, and takes a moment to do so."""
    with world.load(jobs, every=0.3):
        for _ in range(rounds):
            time.sleep(2)
            world.deployment.servers.postgres.kill()
            world.run.kills += 1
            time.sleep(1)
            world.deployment.servers.postgres.start()


def connections_killed(world: World, jobs: int, seconds: int) -> None:
    """pg_terminate_backend on one of our sessions several times a second."""
    with world.load(jobs, every=0.3):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            world.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name like 'reelhook-%%' order by random() limit %s",
                1,
            )
            world.run.kills += 1
            time.sleep(0.25)


def postgres_slow(world: World, jobs: int, seconds: int) -> None:
    """Every answer of the database takes 200 ms longer."""
    world.proxies["postgres"].delay(0.1)
    with world.load(jobs, every=0.5):
        time.sleep(seconds)
        world.proxies["postgres"].heal()


def postgres_blackholed(world: World, jobs: int, seconds: int) -> None:
    """The database takes connections and never says a word."""
    with world.load(jobs, every=0.5):
        time.sleep(1)
        world.proxies["postgres"].blackhole()
        time.sleep(seconds)
        world.proxies["postgres"].heal()


def postgres_refused(world: World, jobs: int, seconds: int) -> None:
    """Nobody listens at the database's address."""
    with world.load(jobs, every=0.5):
        time.sleep(1)
        world.proxies["postgres"].refuse()
        time.sleep(seconds)
        world.proxies["postgres"].heal()


# --- the bucket -------------------------------------------------------------------------------------------------
def bucket_cut(world: World, jobs: int, rounds: int) -> None:
    """The way to the bucket is cut in the middle of what it carries."""
    with world.load(jobs, every=0.3):
        world.proxies["s3"].reset_after(50_000, times=rounds)
        time.sleep(jobs * 0.3)


def bucket_refuses(world: World, jobs: int, seconds: int) -> None:
    """Nobody listens at the bucket's address for a while."""
    with world.load(jobs, every=0.3):
        time.sleep(1)
        world.proxies["s3"].refuse()
        time.sleep(seconds)
        world.proxies["s3"].heal()


# --- Kling ------------------------------------------------------------------------------------------------------
def creates_ambiguous(world: World, jobs: int, rounds: int) -> None:
    """Kling takes a create and its answer is lost, or is an error; or it takes none and hangs up just the same."""
    for fault in ("drop_after", "error_500_after", "error_504_after", "html_200_after", "drop_before", "error_500"):
        world.fault("create", fault, rounds)
    world.submit(jobs, every=0.1)


def kling_full(world: World, jobs: int, rounds: int) -> None:
    """1303 and 1302, many times: no slot is free, and we ask too fast."""
    world.fault("create", "status_429_1303", rounds)
    world.fault("create", "status_429_1302", rounds)
    world.submit(jobs, every=0.05)


def kling_html(world: World, jobs: int, rounds: int) -> None:
    """Where JSON should be is somebody's web page."""
    world.fault("create", "html_200_after", rounds)
    world.fault("query", "html_200", rounds * 3)
    world.fault("cdn", "html_200", rounds)
    world.submit(jobs, every=0.1)


def queries_fail(world: World, jobs: int, rounds: int) -> None:
    """Questions are answered with errors, not at all, or late; result links are dead or give half of the bytes."""
    for fault in ("error_500", "error_503", "drop", "not_found", "delay=2"):
        world.fault("query", fault, rounds)
    for fault in ("drop", "truncate", "wrong_length", "http_403"):
        world.fault("cdn", fault, max(rounds // 2, 1))
    world.submit(jobs, every=0.1)


def kling_unreachable(world: World, jobs: int, seconds: int) -> None:
    """Kling's address refuses, then resets connections in the middle of an answer."""
    with world.load(jobs, every=0.4):
        world.proxies["emulator"].refuse()
        time.sleep(seconds)
        world.proxies["emulator"].reset_after(1500, times=seconds)
        time.sleep(seconds)
        world.proxies["emulator"].heal()


# --- callbacks --------------------------------------------------------------------------------------------------
def callbacks_astray(world: World, jobs: int, _rounds: int) -> None:
    """They never come, come late, before the reply to the create, before the result is there, or twice."""
    fates = ("no_callback", "callback_late=5", "callback_before_reply", "callback_early=3", "callback_twice")
    for number in range(jobs):
        world.submit(prompt=f"a cat [fate: {fates[number % len(fates)]}]")


def callbacks_forged(world: World, jobs: int, rounds: int) -> None:
    """Somebody says `succeed` with a link of his own: without the token, with another job's, and with the right one."""
    made = world.submit(jobs, prompt="a cat [fate: no_callback, slow=10]")
    secret = (world.deployment.servers.kept.get("SECRET_KEY") or "").encode()
    for job in made:
        right = callback_token(secret, job)
        for token, allowed in (("0" * 32, {404}), (callback_token(secret, made[0] + "x"), {404}), (right, {204})):
            for _ in range(rounds):
                status = _call_back(world, job, token, "https://evil.example/x.mp4")
                if status not in allowed:
                    world.run.faults.append(f"a forged callback was answered {status}")
    _moved_by_query_only(world, made)


def _moved_by_query_only(world: World, jobs: list[str]) -> None:
    """P6: while Kling itself says `processing`, no forged `succeed` has moved a job on."""
    time.sleep(1)
    working = {
        task["external_task_id"]
        for task in world.emulator("GET", "state")["tasks"]
        if task["status"] in {"submitted", "processing"}
    }
    rows = world.rows("select id, state from jobs where id = any(%s)", jobs)
    moved = [row["id"] for row in rows if row["id"] in working and row["state"] in {"copying", "archived"}]
    world.run.faults += [f"{job}: moved by a forged callback" for job in moved]
    if not working:
        world.run.faults.append("the forged callbacks came too late to prove anything")


def callbacks_hundredfold(world: World, jobs: int, rounds: int) -> None:
    """The same callback a hundred times at once, for a job under way."""
    made = world.submit(jobs, prompt="a cat [fate: slow=4]")
    secret = (world.deployment.servers.kept.get("SECRET_KEY") or "").encode()
    answers: list[int | None] = []

    def call() -> None:
        answers.extend(_call_back(world, job, callback_token(secret, job), "https://kling.example/x") for job in made)

    threads = [threading.Thread(target=call) for _ in range(rounds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if set(answers) != {204}:
        world.run.faults.append(f"callbacks were answered {sorted(map(str, set(answers)))}")
    for row in world.rows("select job_id, count(*) from callbacks where job_id = any(%s) group by 1", made):
        if row["count"] > 3:  # ours once, and Kling's own two
            world.run.faults.append(f"{row['job_id']}: {row['count']} inbox rows for one callback")


def _call_back(world: World, job: str, token: str, link: str) -> int | None:
    body = {
        "task_id": "1",
        "task_status": "succeed",
        "task_info": {"external_task_id": job},
        "task_result": {"videos": [{"id": "1", "url": link, "duration": "5"}]},
    }
    with suppress(requests.RequestException):
        return requests.post(f"{world.url}/callbacks/kling/{job}/{token}", json=body, timeout=30).status_code
    return None


SCENARIOS: dict[str, Scenario] = {
    "calm": Scenario(calm, 20, 0),
    "worker killed": Scenario(worker_killed, 60, 10),
    "web killed": Scenario(web_killed, 60, 8),
    "web child killed": Scenario(web_child_killed, 40, 6),
    "beat killed": Scenario(beat_killed, 20, 5),
    "SIGTERM to all": Scenario(terminated, 30, 2),
    "SIGTERM to all, twice": Scenario(terminated_twice, 30, 2),
    "Redis down": Scenario(redis_down, 30, 20),
    "Redis wiped": Scenario(redis_wiped, 50, 8),
    "Redis restarted empty": Scenario(redis_restarted, 30, 3),
    "Redis black-holed": Scenario(redis_blackholed, 30, 20),
    "Redis full": Scenario(redis_full, 20, 10),
    "Redis out of connections": Scenario(redis_crowded, 20, 10),
    "PostgreSQL restarted": Scenario(postgres_restarted, 40, 3),
    "PostgreSQL connections killed": Scenario(connections_killed, 40, 15),
    "PostgreSQL slow": Scenario(postgres_slow, 10, 10),
    "PostgreSQL black-holed": Scenario(postgres_blackholed, 20, 25),
    "PostgreSQL refused": Scenario(postgres_refused, 15, 8),
    "bucket cut": Scenario(bucket_cut, 30, 20),
    "bucket refuses": Scenario(bucket_refuses, 30, 8),
    "creates ambiguous": Scenario(creates_ambiguous, 30, 2, seconds=180),
    "Kling full": Scenario(kling_full, 20, 30, seconds=180),
    "Kling answers HTML": Scenario(kling_html, 20, 4),
    "queries fail": Scenario(queries_fail, 20, 6),
    "Kling unreachable": Scenario(kling_unreachable, 25, 5, seconds=180),
    "callbacks astray": Scenario(callbacks_astray, 25, 0),
    "callbacks forged": Scenario(callbacks_forged, 5, 3),
    "callbacks a hundredfold": Scenario(callbacks_hundredfold, 4, 100),
    "messages thrice": Scenario(messages_twice, 40, 4),
    "two versions": Scenario(two_versions, 30, 0),
    "poison messages": Scenario(poison, 20, 0),
    "poison bytes": Scenario(poison_bytes, 20, 5),
    "deploys": Scenario(deploys, 40, 3),
    "headline": Scenario(headline, 2000, 100, seconds=300, by_name_only=True),
}
