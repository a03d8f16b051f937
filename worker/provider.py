"""The provider at the other end of a wire: `worker.kling` says what, `Http` carries it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worker.jobs.model import Job
from worker.jobs.tokens import callback_token
from worker.kling import catalog, wire
from worker.kling.gateways import Account
from worker.ports import Answer, Http


@dataclass(frozen=True)
class Provider:
    """One account of Kling or a gateway. Errors: `infra.http.HttpError`, `worker.kling.errors.KlingError`."""

    account: Account
    http: Http
    callback_base: str  #: our public URL
    secret: bytes  #: signs callback tokens
    seconds: float  #: that one call may take
    pace: float  #: 1 at Kling's own speed

    def create(self, job: Job, body: Mapping[str, Any], now: datetime) -> wire.Task:
        """Ask for the task of a job. Our id goes as its external id, so that it can be looked up by it."""
        callback_url = f"{self.callback_base}/callbacks/kling/{job.id}/{callback_token(self.secret, job.id)}"
        call = wire.create(
            self.account,
            job.family,
            body,
            callback_url=callback_url,
            external_task_id=job.id,
            now=now.timestamp(),
        )
        return _read(self._send(call))

    def query(self, job: Job, now: datetime) -> tuple[wire.Task, bytes]:
        """What is true of the task of a job, and the bytes that say so."""
        call = wire.query(self.account, job.family, job.provider_task_id or job.id, now=now.timestamp())
        answer = self._send(call)
        return _read(answer), answer.body

    def expected_at(self, job: Job, body: Mapping[str, Any], now: datetime) -> datetime:
        """When a task that was created now is likely done."""
        return now + timedelta(seconds=catalog.expected_seconds(job.family, body) * self.pace)

    def _send(self, call: wire.Call) -> Answer:
        return self.http.send(call.method, call.url, call.headers, call.body, seconds=self.seconds)


def _read(answer: Answer) -> wire.Task:
    return wire.read_task(answer.status, answer.headers, answer.body)


def decode(request: bytes) -> dict[str, Any]:
    """The body that a caller sent, from its row."""
    body: dict[str, Any] = json.loads(request)
    return body
