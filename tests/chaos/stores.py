"""The database and the bucket fail, or the way to them does."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import cycle
from typing import Any

import psycopg

from tests.chaos.world import World

_CUT_OURS = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'reelhook-%%'"


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
    """pg_terminate_backend on one of our sessions several times a second, and each second on all of them."""
    with world.load(jobs, every=0.3):
        end = time.monotonic() + seconds
        for count in cycle((1, 1, 1, 100)):
            if time.monotonic() > end:
                break
            ended = world.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name like 'reelhook-%%' order by random() limit %s",
                count,
            )
            world.run.kills += len(ended)
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


def postgres_crowded(world: World, jobs: int, seconds: int) -> None:
    """Others have taken every connection that the database allows, and ours are gone."""
    taken: list[psycopg.Connection[Any]] = []
    with world.load(jobs, every=0.5):
        time.sleep(1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            world.rows(_CUT_OURS)
            with suppress(psycopg.OperationalError):
                while True:
                    taken.append(psycopg.connect(world.deployment.access.servers.database_url))
            time.sleep(0.5)
        for connection in taken:
            connection.close()


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
