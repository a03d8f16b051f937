"""A deployment that can be hurt: the Procfile's processes on real servers, a fault proxy before each of those."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis
import requests
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from infra.stack import procfile as runner_of
from infra.stack.deployment import PROJECT, Deployment
from infra.stack.process import wait_until
from tests.chaos.platform import Platform, Run
from tests.proxy import FaultProxy
from tests.receiver import Receiver, receiver
from worker.jobs.tokens import signing_secret

OMNI = "/kling/v1/videos/omni-video"
TEXT = {"model_name": "kling-video-o1", "prompt": "a cat", "mode": "std", "aspect_ratio": "16:9", "duration": "5"}
#: Kling's minutes take so much less here.
SPEED = 200
#: Seconds after which a caller whose request was not taken tries again, and for how long it does.
_AGAIN_SECONDS = 0.5
_PATIENCE_SECONDS = 90
#: Seconds between two looks of a caller who watches.
_LOOK_SECONDS = 1.0


def through(url: str, proxy: FaultProxy) -> str:
    """`url`, by way of the proxy."""
    parts = urlsplit(url)
    userinfo = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{userinfo}@127.0.0.1:{proxy.port}" if userinfo else proxy.url[7:]))


class World(Platform):
    """Everything, as a context. One scenario after another is played on it."""

    def __init__(
        self,
        folder: Path,
        *,
        speed: float = SPEED,
        more: Mapping[str, str] | None = None,
        procfile: Path = PROJECT / "Procfile",
        formation: Mapping[str, int] | None = None,
        proxied: bool = True,
    ) -> None:
        #: Its own values join it when the proxies listen.
        self._more = {"SWEEP_SECONDS": "2", "WEB_CONCURRENCY": "2", "TMPDIR": str(folder / "tmp"), **(more or {})}
        deployment = Deployment(folder, speed=speed, fast=True, more=self._more, procfile=procfile, formation=formation)
        super().__init__(deployment, folder / "tmp")
        self.proxies: dict[str, FaultProxy] = {}
        self._proxied = proxied  #: a proxy costs as much as the job itself, where there are thousands of jobs
        self.app: Receiver = Receiver()
        self._stack = ExitStack()
        self._number = 0
        self._hung_up = threading.Event()  #: callers give up: there is nobody who would look at what becomes of it
        #: Where callers come to by turns; empty for the deployment's own door.
        self.doors: list[str] = []

    def __enter__(self) -> Self:
        # Here deaths are our own doing, and a platform does not give up either.
        self._stack.callback(setattr, runner_of, "QUICK_DEATH_SECONDS", runner_of.QUICK_DEATH_SECONDS)
        runner_of.QUICK_DEATH_SECONDS = 0.0
        self._temporary.mkdir(mode=0o700)
        try:
            self.app = self._stack.enter_context(receiver())
            self._stack.callback(self.deployment.discard)
            if self._proxied:
                self._put_proxies_between()
            self.deployment.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()
        self._stack.close()

    def _put_proxies_between(self) -> None:
        servers = self.deployment.servers
        for server in servers.members:
            server.port = servers.kept.port(server.name)
            self.proxies[server.name] = self._stack.enter_context(FaultProxy("127.0.0.1", server.port))
        access = self.deployment.access
        self._more |= {
            "DATABASE_URL": through(access.servers.database_url, self.proxies["postgres"]),
            "REDIS_URL": through(access.servers.redis_url, self.proxies["redis"]),
            "S3_ENDPOINT_URL": through(access.servers.s3_endpoint_url, self.proxies["s3"]),
            "KLING_URL": through(access.kling_url, self.proxies["emulator"]),
        }

    # --- a scenario ---------------------------------------------------------------------------------------------
    @contextmanager
    def scenario(self, name: str) -> Iterator[Run]:
        """Play a scenario in here: faults of the last one are gone, and a caller watches the door all the time."""
        self.heal()
        self.await_door()
        self._forget_the_account()
        logs = self.deployment.state.glob("logs/*.log")
        self.run = Run(
            name,
            log_begins={path.stem: path.stat().st_size for path in logs},
            heard_before=len(self.app.raw),
            heard_proven=len(self.app.raw),
            callbacks_before=len(self.emulator("GET", "state")["callbacks"]),
        )
        ending = threading.Event()
        watch = threading.Thread(target=self._watch, args=(self.run, ending), name="watch")
        watch.start()
        try:
            yield self.run
        finally:
            self.heal()
            ending.set()
            watch.join(30)
            self.prove_signatures(self.run)

    def _forget_the_account(self) -> None:
        """What an earlier storm of 1303 taught is unlearned over minutes: an operator may cut that short, so it is."""
        if self.rows("select name from accounts where learned_limit is not null or stopped_at is not null"):
            self.command("accounts", "resume", "default")

    def heal(self) -> None:
        """End every fault that is not a death."""
        for proxy in self.proxies.values():
            proxy.heal()
        self.emulator("DELETE", "faults")

    def is_healed(self) -> None:
        """From this moment on recovery is measured, unless it was before."""
        self.run.healed = self.run.healed or datetime.now(UTC)

    def await_door(self, seconds: float = 60) -> None:
        """Until every process runs and the door is ready for work."""

        def ready() -> bool:
            self.deployment.check()
            return is_ready(self.url) and {"web", "worker", "beat"} <= set(self.deployment.pids)

        assert wait_until(ready, seconds, pause=0.1), "the door did not come back"

    def is_open(self) -> bool:
        """Whether the door answers."""
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/healthz", timeout=5).ok
        return False

    def _watch(self, run: Run, ending: threading.Event) -> None:
        while not ending.wait(_LOOK_SECONDS):
            with suppress(psycopg.Error, redis.RedisError):
                self._count_connections(run)
            self.prove_signatures(run)
            answer = self._ask("GET", f"{OMNI}?pageSize=30")
            if answer is not None and answer.ok:
                for task in answer.json()["data"]:
                    seen = run.seen.setdefault(task["task_id"], [])
                    if seen[-1:] != [task["task_status"]]:
                        seen.append(task["task_status"])

    def prove_signatures(self, run: Run) -> None:
        """Verify what the receiver got since the last look, while its time stamps are fresh."""
        webhook = Webhook(signing_secret((self.deployment.servers.kept.get("SECRET_KEY") or "").encode(), "default"))
        while run.heard_proven < len(self.app.raw):
            at, run.heard_proven = run.heard_proven, run.heard_proven + 1
            try:
                webhook.verify(self.app.raw[at], dict(self.app.headers[at]))
            except WebhookVerificationError as fault:
                run.faults.append(f"a delivery does not verify: {fault}")

    def _count_connections(self, run: Run) -> None:
        ours = "select 1 from pg_stat_activity where application_name like 'reelhook-%%'"
        with self.redis() as broker:
            held = {"PostgreSQL": len(self.rows(ours)), "Redis": int(broker.info("clients")["connected_clients"]) - 1}
        run.connections |= Counter(held)

    def settle(self, seconds: float) -> bool:
        """Wait until every job has ended and everybody was told; whether that happened in time."""

        def settled() -> bool:
            self.deployment.check()
            open_jobs = self.rows(
                "select 1 from jobs where id = any(%s) and due_at is not null union all "
                "select 1 from deliveries where job_id = any(%s) and state = 'pending'",
                self.run.jobs,
                self.run.jobs,
            )
            return not open_jobs

        return wait_until(settled, seconds, pause=0.25)

    # --- as a caller --------------------------------------------------------------------------------------------
    @property
    def url(self) -> str:
        """The door."""
        return self.deployment.access.url

    def submit(self, count: int = 1, *, every: float = 0, **changes: Any) -> list[str]:
        """The ids of new jobs. A caller whose request is not answered sends it again with the same external id."""
        made = []
        for _ in range(count):
            made.append(self._submit(changes))
            time.sleep(every)
        return made

    def _submit(self, changes: Mapping[str, Any]) -> str:
        self._number += 1
        name = f"chaos-{self._number}-{os.getpid()}"
        body = {**TEXT, "external_task_id": name, "callback_url": self.app.url, **changes}
        end = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end and not self._hung_up.is_set():
            doors = self.doors or [self.url]
            answer = self._ask("POST", OMNI, door=doors[self._number % len(doors)], json=body)
            if answer is not None and answer.status_code == 200:
                job = str(answer.json()["data"]["task_id"])
                self.run.jobs.append(job)
                return job
            assert answer is None or answer.status_code >= 500, answer.text
            time.sleep(_AGAIN_SECONDS)
        raise AssertionError(f"no job was accepted for {_PATIENCE_SECONDS} s")

    @contextmanager
    def load(self, count: int, *, every: float, **changes: Any) -> Iterator[threading.Thread]:
        """While the block runs, and after it until all are accepted, jobs come in."""
        failed: list[BaseException] = []

        def work() -> None:
            try:
                self.submit(count, every=every, **changes)
            except AssertionError as fault:
                failed.append(fault)

        thread = threading.Thread(target=work, name="load")
        thread.start()
        try:
            yield thread
        except BaseException:
            self._hung_up.set()
            raise
        finally:
            self.is_healed()
            thread.join()
        if failed:
            raise failed[0]

    def _ask(self, method: str, path: str, *, door: str = "", **options: Any) -> requests.Response | None:
        """The door's answer; None where there was none. What it should never say is kept."""
        key = self.deployment.access.api_key
        began = time.monotonic()
        try:
            answer = requests.request(
                method, (door or self.url) + path, headers={"Authorization": f"Bearer {key}"}, timeout=30, **options
            )
        except requests.RequestException:
            self.run.answers[0] += 1
            return None
        finally:
            self.run.slowest = max(self.run.slowest, time.monotonic() - began)
        self.run.answers[answer.status_code] += 1
        if answer.status_code >= 500 and (answer.status_code != 503 or "Retry-After" not in answer.headers):
            self.run.faults.append(f"{method} {path.partition('?')[0]}: {answer.status_code} {answer.text[:120]}")
        return answer


def is_ready(door: str) -> bool:
    """Whether a door says that it can do its work."""
    with suppress(requests.RequestException):
        return requests.get(f"{door}/readyz", timeout=5).ok
    return False


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for a condition that must come true."""
    assert wait_until(condition, seconds, pause=0.05), "waited in vain"
