"""A deploy on a small plan: old and new deployment at once, on servers that allow twenty connections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis
import requests
from psycopg import sql

from infra.stack.deployment import GRACE_SECONDS, PROJECT, Deployment
from infra.stack.kept import free_port
from infra.stack.process import wait_until
from infra.stack.procfile import Runner, parse
from tests.next_version import next_version

TEXT = {"model_name": "kling-video-o1", "prompt": "a cat", "mode": "std", "aspect_ratio": "16:9", "duration": "5"}
PLAN = 20


@dataclass
class Plan:
    """Servers that allow as many connections as a small plan, and what of them was used."""

    deployment: Deployment
    most: Counter[str] = field(default_factory=Counter)

    def database(self) -> str:
        """The URL of a database whose role is held to the plan, as a platform hands it out."""
        url = self.deployment.access.servers.database_url
        with psycopg.connect(url, autocommit=True) as admin:
            role = sql.SQL("create role plan login password 'plan' connection limit {}").format(sql.Literal(PLAN))
            admin.execute(role)
            admin.execute("create database plan owner plan")
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=f"plan:plan@127.0.0.1:{parts.port}", path="/plan"))

    def look(self) -> int:
        """Count what our processes hold; how many jobs are archived."""
        servers = self.deployment.access.servers
        with psycopg.connect(urlunsplit(urlsplit(servers.database_url)._replace(path="/plan"))) as admin:
            held = admin.execute("select count(*) from pg_stat_activity where usename = 'plan'").fetchone()
            archived = admin.execute("select count(*) from jobs where state = 'archived'").fetchone()
        with self.broker() as broker:
            ours = len(broker.client_list()) - 1
        assert held is not None
        assert archived is not None
        self.most |= Counter({"PostgreSQL": held[0], "Redis": ours})
        return int(archived[0])

    def refused(self) -> int:
        """How many connections the broker turned away."""
        with self.broker() as broker:
            return int(broker.info("stats")["rejected_connections"])

    @contextmanager
    def broker(self) -> Iterator[Any]:
        """The broker, asked directly."""
        client = redis.Redis.from_url(self.deployment.access.servers.redis_url)
        try:
            yield client
        finally:
            client.close()


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    """One deployment of the default Procfile on a small plan."""
    more: dict[str, str] = {"WEB_CONCURRENCY": "2"}
    deployment = Deployment(tmp_path, speed=200, fast=True, more=more)
    try:
        made = Plan(deployment)
        with deployment.servers:
            more["DATABASE_URL"] = made.database()
        deployment.start()
        with made.broker() as broker:
            broker.config_set("maxclients", PLAN)
        yield made
    finally:
        deployment.discard()


@contextmanager
def beside(deployment: Deployment) -> Iterator[str]:
    """The next version's whole deployment on the same servers, its release first; its door."""
    folder, port = deployment.state / "next", free_port()
    env = {**deployment._make_runner()._env, **next_version(folder)}
    runner = Runner(
        {f"{name}-next" if name != "release" else name: command for name, command in _procfile().items()},
        env,
        deployment.state,
        cwd=folder,
        grace=GRACE_SECONDS,
        own_env={"web-next": {"PORT": str(port), "HOST": "127.0.0.1"}},
    )
    runner.release()
    runner.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        runner.stop()


def test_a_deploy_overlap_fits_into_a_small_plan(plan: Plan) -> None:
    """P1: this version and the next at once hold at most 18 of 20 connections to each server, and jobs go on.

    The old door stays ready though the database is a step further than it knows.
    """
    deployment = plan.deployment
    jobs = [_submit(deployment, deployment.access.url) for _ in range(4)]
    with beside(deployment) as url:
        assert _ready(deployment.access.url)
        assert wait_until(lambda: _ready(url), 60)
        jobs += [_submit(deployment, door) for _ in range(8) for door in (deployment.access.url, url)]
        assert wait_until(lambda: plan.look() == len(jobs), 90), plan.most

    assert {"PostgreSQL": True, "Redis": True} == {name: 8 < held <= 18 for name, held in plan.most.items()}, plan.most
    assert 0 == plan.refused()
    logs = {path.stem: path.read_text() for path in deployment.state.glob("logs/w*.log")}
    assert {"web", "web-next", "worker", "worker-next"} == logs.keys()
    assert "too many connections" not in "".join(logs.values())


def _procfile() -> dict[str, str]:
    return parse((PROJECT / "Procfile").read_text())


def _submit(deployment: Deployment, url: str) -> str:
    headers = {"Authorization": f"Bearer {deployment.access.api_key}"}
    answer = requests.post(f"{url}/kling/v1/videos/omni-video", json=TEXT, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["task_id"])


def _ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=60).ok
    except requests.RequestException:
        return False
