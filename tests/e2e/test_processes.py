"""The Procfile's own processes against the emulator, with real messages, signals and time."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import psycopg
import pytest
import requests
from botocore.config import Config

from infra.stack.deployment import Deployment
from infra.stack.process import wait_until
from tests.receiver import Receiver, receiver

TEXT = {"model_name": "kling-video-o1", "prompt": "a cat", "mode": "std", "aspect_ratio": "16:9", "duration": "5"}
#: A worker that dies after its row says that a create may leave, and before it does, leaves a job whose create has to
#: be proven absent: by eight look-ups, each at a sweep, over a time that begins with the call's own limit. With the
#: limit of a real provider, which is far away, that alone takes as long as `until` waits. And a source may be slower
#: than one is that is given up: a small film then takes long enough to be met half way.
PACE = {"KLING_TIMEOUT_SECONDS": "5", "SWEEP_SECONDS": "1", "FETCH_SLOWEST": "1"}


class Running:
    """A deployment as its users see it."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.access = deployment.access
        self._headers = {"Authorization": f"Bearer {self.access.api_key}"}

    def submit(self, **changes: Any) -> str:
        """The id of a new job."""
        url = f"{self.access.url}/kling/v1/videos/omni-video"
        answer = requests.post(url, json={**TEXT, **changes}, headers=self._headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["task_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """What the door says of a job."""
        answer = requests.get(f"{self.access.url}/api/jobs/{job_id}", headers=self._headers, timeout=30)
        shown: dict[str, Any] = answer.json()
        return shown

    def timeline(self, job_id: str) -> Any:
        """Each step of a job."""
        url = f"{self.access.url}/api/jobs/{job_id}/timeline"
        return requests.get(url, headers=self._headers, timeout=30).json()

    def until(self, job_id: str, holds: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        """The job, once `holds` is true of it."""
        end = time.monotonic() + 90
        while not holds(job := self.job(job_id)):
            self.deployment.check()
            assert time.monotonic() < end, json.dumps([job, self.timeline(job_id)], indent=1)
            time.sleep(0.05)  # the processes work in real time
        return job

    def archived(self, job_id: str) -> dict[str, Any]:
        """The job once it is archived, its files read back with a client of S3 that is not ours."""
        job = self.until(job_id, lambda shown: shown["state"] in {"archived", "failed", "unknown", "expired"})
        assert job["state"] == "archived", job
        for file in job["files"]:
            body = self.client().get_object(Bucket=file["bucket"], Key=file["key"])["Body"].read()
            assert (file["size"], file["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        return job

    def client(self) -> Any:
        """Another S3 client."""
        servers = self.access.servers
        return boto3.client(
            "s3",
            endpoint_url=servers.s3_endpoint_url,
            aws_access_key_id=servers.s3_access_key_id,
            aws_secret_access_key=servers.s3_secret_access_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )

    def emulator(self, method: str, path: str, **options: Any) -> Any:
        """Ask the emulator what it saw, or tell it to fail."""
        base = f"http://{urlsplit(self.access.kling_url).netloc.rpartition('@')[2]}"
        answer = requests.request(method, f"{base}/_emulator/{path}", timeout=100, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def kill(self, name: str) -> None:
        """SIGKILL a process of the Procfile, and wait until the platform has started it again."""
        pid = self.deployment.pids[name]
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 30
        while self.deployment.pids.get(name, pid) == pid or not self._answers():
            assert time.monotonic() < end, f"{name} did not come back"
            time.sleep(0.05)  # as above

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.access.url}/healthz", timeout=5).ok
        except requests.RequestException:
            return False


@contextmanager
def running(folder: Path, **more: str) -> Iterator[Running]:
    """Everything that `make up` starts, in `folder`."""
    deployment = Deployment(folder, speed=200, fast=True, more={**PACE, **more})
    try:
        yield Running(deployment.start())
    finally:
        deployment.discard()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One deployment for the tests that can share it."""
    with running(tmp_path_factory.mktemp("up")) as one:
        yield one


@pytest.fixture
def app() -> Iterator[Receiver]:
    """The caller's own app."""
    with receiver() as listening:
        yield listening


def test_the_processes_of_the_procfile_do_the_main_job(up: Running, app: Receiver) -> None:
    """P1 to P4: web, worker and beat take a request to a proven file and a signed announcement, asking Kling once."""
    job_id = up.submit(callback_url=app.url)
    job = up.archived(job_id)

    assert (1280, 720, "h264") == tuple(job["files"][0][name] for name in ("width", "height", "video_codec"))
    assert up.emulator("GET", "state")["creates"][job_id] == 1
    up.until(job_id, lambda _: bool(app.bodies))
    assert (job_id, "succeed") == (app.bodies[0]["task_id"], app.bodies[0]["task_status"])


def test_a_worker_killed_while_it_copies_costs_time_only(up: Running) -> None:
    """P1, P2, P4: SIGKILL in the middle of a file; its successor archives the job, and nothing is left or doubled."""
    up.emulator("POST", "faults", json=[{"on": "cdn", "fault": "slow=1500", "times": 99}])
    job_id = up.submit(prompt="a cat that takes long to copy")
    up.until(job_id, lambda job: job["state"] == "copying" and job["bytes_copied"] > 0)
    up.kill("worker")
    up.emulator("DELETE", "faults")
    up.archived(job_id)

    assert up.emulator("GET", "state")["creates"][job_id] == 1
    listed = up.client().list_objects_v2(Bucket=up.access.servers.s3_bucket)["Contents"]
    assert 4 == len([item for item in listed if job_id in item["Key"]])
    assert not up.client().list_multipart_uploads(Bucket=up.access.servers.s3_bucket).get("Uploads")


def test_every_process_may_be_killed(up: Running) -> None:
    """P1, P4: web, worker and beat die one after another under a dozen jobs; all end archived, each created once."""
    jobs = []
    for number in range(12):
        jobs.append(up.submit(prompt=f"cat number {number}"))
        if number % 4 == 3:
            up.kill(("worker", "beat", "web")[number // 4])
    for job_id in jobs:
        up.archived(job_id)

    creates = up.emulator("GET", "state")["creates"]
    assert dict.fromkeys(jobs, 1) == {job_id: creates[job_id] for job_id in jobs}


def test_another_app_asks_by_a_message_and_is_called_back(up: Running, tmp_path: Path, root: Path) -> None:
    """P1, P3: an app that imports nothing of ours sends a task, and its own task is called with links that open."""
    desk = tmp_path / "desk.jsonl"
    desk.touch()
    environment = {**os.environ, "SHOP_BROKER": up.access.servers.redis_url, "SHOP_DESK": str(desk)}
    words = [sys.executable, "-m", "celery", "-A", "tests.e2e.shop", "worker", "-Q", "shop", "-c", "1", "-P", "solo"]
    ask = "from tests.e2e import shop; shop.order('a red kite', 'order-7'); shop.order('a red kite', 'order-7')"
    quiet: Any = {"env": environment, "cwd": root, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, **quiet) as shop:  # noqa: S603 - our own words
        try:
            subprocess.run([sys.executable, "-c", ask], **quiet, check=True, timeout=60)  # noqa: S603 - as above
            up.until("order-7", lambda _: desk.read_text().endswith("\n"))
        finally:
            shop.terminate()
    heard = {told["id"]: told["event"] for told in map(json.loads, desk.read_text().splitlines())}
    (event,) = heard.values()  # a broker that took its time may have been given it twice

    assert ("video.archived", "order-7") == (event["type"], event["data"]["task_info"]["external_task_id"])
    assert requests.get(event["data"]["task_result"]["videos"][0]["url"], timeout=100).status_code == 200


def test_a_message_over_its_key_s_rate_comes_again(up: Running, root: Path) -> None:
    """P1: a worker gives it back to the broker until the limit allows it; then it is a job, and not set aside."""
    environment = {**os.environ, "SHOP_BROKER": up.access.servers.redis_url}
    words = [sys.executable, "-c", "from tests.e2e import shop; shop.order('a blue kite', 'order-8')"]
    log = up.deployment.state / "logs" / "worker.log"
    made = "select count(*) from jobs where external_task_id = 'order-8'"
    with psycopg.connect(up.access.servers.database_url, autocommit=True) as rows:
        # Of a minute's requests none is left for another three seconds, however late the message comes to be looked at.
        busy = "update api_keys set per_minute = 20, busy_until = now() + interval '63 seconds' where name = 'default'"

        def waits() -> bool:
            rows.execute(busy)
            return "request.waits" in log.read_text()

        assert not waits()
        with subprocess.Popen(words, env=environment, cwd=root):  # noqa: S603 - our own words
            try:
                assert wait_until(waits, 60), log.read_text()[-2000:]
                assert wait_until(lambda: rows.execute(made).fetchone() == (1,), 60), log.read_text()[-2000:]
            finally:
                rows.execute("update api_keys set per_minute = null where name = 'default'")
        assert rows.execute("select count(*) from set_aside").fetchone() == (0,)

    up.archived("order-8")


def test_a_beat_that_starts_asks_for_what_is_due_once_an_hour(up: Running) -> None:
    """P1: retention, and the alarm for results at risk, don't wait for a beat that lives for an hour."""
    with psycopg.connect(up.access.servers.database_url, autocommit=True) as rows:
        begun = "select 1 from runs where name = 'expire'"
        assert wait_until(lambda: rows.execute(begun).fetchone() is not None, 60)
        rows.execute("update runs set at = at - interval '2 hours'")
        up.kill("beat")
        assert wait_until(
            lambda: rows.execute(f"{begun} and at > now() - interval '1 hour'").fetchone() is not None, 60
        )


def test_without_any_callback_the_job_still_ends(up: Running) -> None:
    """P1, P6: Kling calls nobody back; polling finds the result."""
    job_id = up.submit(prompt="a cat [fate: no_callback]")
    up.archived(job_id)

    assert [] == up.timeline(job_id)["callbacks"]


def test_no_secret_is_in_any_log(up: Running) -> None:
    """P8: after all of the above the logs hold ids and hosts, and no key, token, signature or password."""
    up.archived(up.submit(external_task_id="for-the-log"))
    web = up.deployment.state / "logs" / "web.log"
    assert wait_until(lambda: "/callbacks/kling/" in web.read_text(), 60)  # a sweep may have been before it
    environment = up.access.variables({})
    servers = up.access.servers
    secrets = {environment["REELHOOK_API_KEY"], servers.s3_secret_access_key, "X-Amz-Signature", "Bearer ey"}
    secrets |= {urlsplit(environment[name]).password or "" for name in ("DATABASE_URL", "KLING_URL")} - {""}
    logs = {path.name: path.read_text() for path in up.deployment.state.glob("logs/*.log")}
    ours = {name: text for name, text in logs.items() if name.split(".")[0] in {"web", "worker", "beat", "release"}}

    assert set(ours) == {"web.log", "worker.log", "beat.log", "release.log"}
    assert [] == [(name, secret) for name, text in ours.items() for secret in secrets if secret in text]
