"""What each stage of a job costs by itself: a process that plays all of them in turn and looks at its own CPU.

Reads the settings of a deployment from its environment; prints microseconds by stage as JSON.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, MutableMapping
from typing import Any

from flask.testing import FlaskClient

from infra.queue import make_celery
from infra.settings import load
from tests.fakes import FakeQueue, OwnHands
from webhook.app import create_app
from webhook.entrance import Entrance
from worker import messages
from worker.jobs.tokens import callback_token
from worker.kling.wire import TaskStatus
from worker.services import Services, now
from worker.tasks.announce import Announcer, Ways
from worker.tasks.archive import Fresh, archive
from worker.tasks.begin import Begin
from worker.tasks.complaints import Complaints
from worker.tasks.follow_up import follow_up
from worker.tasks.submit import submit
from worker.tasks.sweep import sweep

TEXT = {"model_name": "kling-video-o1", "prompt": "a cat", "mode": "std", "aspect_ratio": "16:9", "duration": "5"}


class Stages:
    """One job after another, each stage a call."""

    def __init__(self, hook: str) -> None:
        self.settings = load()
        self.services = Services(self.settings, make_celery(self.settings))
        self.secret = self.settings.secret
        application = create_app(self.settings)
        self.queue = FakeQueue()
        application.extensions["reelhook"]().__dict__["queue"] = self.queue
        self.door: FlaskClient = application.test_client()
        self.entrance = Entrance(application, self.settings)
        self.loop = asyncio.new_event_loop()
        self.hook = hook
        self.costs: dict[str, list[float]] = defaultdict(list)

    def play(self) -> None:
        """A job from accepted to announced."""
        s, queue = self.services, self.queue
        answer = self.cost("accept", self.accept)
        job_id = answer.get_json()["data"]["task_id"]
        rows: Any = {"begin": Begin(s.store, s.aside, queue, now), "store": s.store, "queue": queue, "clock": now}
        asking: Any = {"accounts": s.accounts, "provider": s.provider}
        swept: Any = {"store": s.store, "inbox": s.inbox, "outbox": s.outbox, "accounts": s.accounts}
        swept["concurrency"] = s.provider.concurrency
        self.cost("submit", lambda: submit(job_id, pipelines=s.pipelines, **asking, **rows))
        self.await_end(job_id)
        self.cost("callback", lambda: self.callback(job_id))
        brought: list[Fresh] = []
        self.cost("follow-up", lambda: follow_up(job_id, onward=brought.append, **asking, **rows))
        if not brought:  # a sweep of the deployment's own was faster
            queue.sent.clear()
            return
        fresh = brought[0]
        rows |= {"complaints": Complaints(s.runs, s.attention, queue, now)}
        self.cost("archive", lambda: archive(job_id, provider=s.provider, copier=s.copier, fresh=fresh, **rows))
        ((_, _, (delivery,)),) = [sent for sent in queue.sent if sent[0] == messages.ANNOUNCE]
        ways = Ways(s.guarded, queue, OwnHands(), s.link, self.secret, 5)
        announcer = Announcer(s.store, s.outbox, s.subscriptions, s.attention, s.aside, ways, now)
        self.cost("announce", lambda: announcer.announce(delivery))
        self.cost("sweep", lambda: sweep(**swept, queue=queue, clock=now))
        self.cost("message", lambda: s.queue.send(messages.SWEEP, "nobody", ()))
        queue.sent.clear()

    def cost(self, stage: str, call: Callable[[], Any]) -> Any:
        """What it returns; what it cost is kept."""
        began = time.process_time_ns()
        made = call()
        self.costs[stage].append((time.process_time_ns() - began) / 1000)
        return made

    def accept(self) -> Any:
        """A request for a film."""
        key = self.settings.api_key
        assert key is not None
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"}
        body = {**TEXT, "callback_url": self.hook}
        return self.door.post("/kling/v1/videos/omni-video", json=body, headers=headers)

    def callback(self, job_id: str) -> None:
        """Kling says that it is done."""
        path = f"/callbacks/kling/{job_id}/{callback_token(self.secret, job_id)}"
        body = json.dumps({"task_id": job_id, "task_status": "succeed"}).encode()
        assert self.loop.run_until_complete(post(self.entrance, path, body)) == 204

    def await_end(self, job_id: str) -> None:
        """Until Kling has the film."""
        job = self.services.store.get(job_id)
        assert job is not None
        while self.services.provider.query(job, now())[0].status is not TaskStatus.SUCCEEDED:
            time.sleep(0.02)


async def post(entrance: Entrance, path: str, body: bytes) -> int:
    """The status of the door's answer, without a server between."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: MutableMapping[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    await entrance({"type": "http", "method": "POST", "path": path, "headers": []}, receive, send)
    return statuses[0]


if __name__ == "__main__":
    stages = Stages(sys.argv[1])
    for _ in range(int(sys.argv[2])):
        stages.play()
    print(json.dumps({name: statistics.median(costs) for name, costs in stages.costs.items()}))
