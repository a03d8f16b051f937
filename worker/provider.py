"""Calls to the provider: `worker.kling` builds requests and reads answers, `Http` carries them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worker.jobs import retry
from worker.jobs.model import Job
from worker.jobs.tokens import callback_token
from worker.kling import catalog, wire
from worker.kling.errors import CredentialsRefused
from worker.kling.gateways import Account
from worker.kling.strings import mapped
from worker.ports import Answer, Http


@dataclass(frozen=True)
class Provider:
    """The accounts at Kling and its gateways. Errors: `infra.http.HttpError`, `worker.kling.errors.KlingError`."""

    accounts: Mapping[str, Account]  #: by name
    http: Http
    callback_base: str  #: our public URL
    secret: bytes  #: signs callback tokens
    seconds: float  #: that one call may take
    pace: float  #: 1 at Kling's own speed
    link: Callable[[str], str]  #: makes an s3:// reference into a link that Kling can fetch

    def create(self, job: Job, body: Mapping[str, Any], now: datetime, may: Callable[[], bool]) -> wire.Task:
        """Create the task of a job. Our job's id goes along as `external_task_id`, so that it can be looked up by it.

        `may` is asked once the connection stands, before the first byte; when it says no, `NotSent` is raised.
        """
        callback_url = f"{self.callback_base}/callbacks/kling/{job.id}/{callback_token(self.secret, job.id)}"
        call = wire.create(
            self._account(job),
            job.family,
            with_links(body, self.link),
            callback_url=callback_url,
            external_task_id=job.id,
            now=now.timestamp(),
        )
        answer = self._send(call, may)
        return wire.read_task(answer.status, answer.headers, answer.body)

    def query(self, job: Job, now: datetime) -> tuple[wire.Task, bytes]:
        """The task of a job as the provider has it now, and the bytes of that answer."""
        call = wire.query(self._account(job), job.family, job.provider_task_id or job.id, now=now.timestamp())
        answer = self._send(call)
        said = answer.status, answer.headers, answer.body
        return wire.read_own(*said, task_id=job.provider_task_id, external=job.id), answer.body

    def expected_at(self, job: Job, body: Mapping[str, Any], now: datetime) -> datetime:
        """When a task that was created now is likely done."""
        return now + timedelta(seconds=catalog.expected_seconds(job.family, body) * self.pace)

    @property
    def absent_after(self) -> timedelta:
        """How long after the row said that a create may be sent its absence counts as proven.

        It may have been sent late (`FRESH_SECONDS`), the call may have lasted `seconds`, and the provider may take
        `ABSENT_SECONDS` to show the task.
        """
        return timedelta(seconds=retry.FRESH_SECONDS + self.seconds + retry.ABSENT_SECONDS * self.pace)

    def concurrency(self, account: str) -> int | None:
        """The slots that are configured for an account; None when there is no such account."""
        return self.accounts[account].concurrency if account in self.accounts else None

    def kind(self, job: Job, body: Mapping[str, Any]) -> str:
        """The kind of task by which durations are learned: gateway, family, model, mode and duration."""
        gateway = self.accounts[job.account].gateway if job.account in self.accounts else "?"
        asked = [str(body.get(name) or "-")[:40] for name in ("model_name", "mode", "duration")]
        return "/".join([gateway, job.family, *asked])

    def _account(self, job: Job) -> Account:
        if job.account not in self.accounts:
            # Somebody took it out of the settings while jobs were under way: they wait for it.
            raise CredentialsRefused(f"account {job.account!r} is not configured")
        return self.accounts[job.account]

    def _send(self, call: wire.Call, may: Callable[[], bool] | None = None) -> Answer:
        return self.http.send(call.method, call.url, call.headers, call.body, seconds=self.seconds, may=may)


def with_links(body: Mapping[str, Any], link: Callable[[str], str]) -> dict[str, Any]:
    """`body` with a presigned link for every `s3://` reference. Made when it is sent, as links expire."""
    return mapped(body, lambda value: link(value) if value.startswith("s3://") else value)


class BadRow(ValueError):
    """The stored request of a job can't be read: it was damaged, or written by something else."""


def decode(request: bytes) -> dict[str, Any]:
    """The body that a caller sent, from its row. Raises `BadRow`."""
    try:
        body = json.loads(request)
    except ValueError:
        raise BadRow("its stored request is not JSON") from None
    if not isinstance(body, dict):
        raise BadRow("its stored request is not an object")
    return body


def known(request: bytes | None) -> dict[str, Any]:
    """As `decode`, but empty where the request has expired or can't be read: for showing it, not for sending it."""
    try:
        return decode(request or b"{}")
    except BadRow:
        return {}
