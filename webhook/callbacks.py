"""Kling calls back: prove that the URL is ours, store the body once, answer, and let the work begin.

One write to the database lies between the request and its answer; the broker is no part of it. What the body says is
kept and never believed: `follow_up` asks Kling. It is ASGI: a sender that drips its bytes holds no thread.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from infra.log import line, logger, request_name
from webhook.asgi import Answer, Hangup, Receive, Scope, Send, TooLong, body_of, headers_of
from webhook.group_commit import Crowded, GroupCommit
from webhook.problems import AGAIN_SECONDS, NO_DATABASE, Problem, problem, refusal
from worker.jobs.tokens import callback_token
from worker.kling.answers import TaskStatus
from worker.kling.callback import read_callback, verify_signature
from worker.kling.errors import BadSignature, MalformedCallback
from worker.store.inbox import UNDERSTOOD, Arrival

log = logger(__name__)

PREFIX = "/callbacks/"
#: Seconds that a body may take to come; Kling's are one packet long.
_BODY_SECONDS = 10
_LONGEST_WORD = 100
#: With every answer to a request whose body was not read: what is left of it would hold the connection.
_CLOSE = {"Connection": "close"}


@dataclass(frozen=True)
class Receiver:
    """Takes callbacks. 2xx means that it is in the database."""

    secret: bytes
    webhook_secrets: tuple[str, ...]  #: of Kling's own signature; empty: it is not looked at
    limit: int  #: largest body in bytes
    inbox: GroupCommit
    nudge: Callable[[str], None]
    clock: Callable[[], datetime]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request below `PREFIX`."""
        began = time.perf_counter()
        headers = headers_of(scope)
        note: dict[str, Any] = {**request_name(headers.get("x-request-id", ""))}
        try:
            job_id = self._proven(scope["path"])
            note["job"] = job_id
            answer = await self._take(job_id, scope["method"], headers, receive, note)
        except Hangup:
            return
        except Problem as fault:
            answer = Answer(fault.status, problem(fault.status, fault.title, fault.detail), fault.headers)
        except (Crowded, SQLAlchemyError) as fault:
            note["reason"] = refusal(fault)
            answer = Answer(503, problem(503, NO_DATABASE), {"Retry-After": AGAIN_SECONDS})
        await answer.send(send)
        # The token stays out: it is the proof.
        path = f"{PREFIX}kling/{note['job']}/***" if "job" in note else PREFIX
        milliseconds = round((time.perf_counter() - began) * 1000, 1)
        write = log.error if answer.status >= 500 else line
        write("callback", path=path, **note, answer=answer.status, milliseconds=milliseconds)

    def _proven(self, path: str) -> str:
        """The job whose callback address this is."""
        parts = path.removeprefix(PREFIX).split("/")
        if len(parts) == 3 and parts[0] == "kling":
            _, job_id, token = parts
            if hmac.compare_digest(token.encode(errors="replace"), callback_token(self.secret, job_id).encode()):
                return job_id
        raise Problem(404, "no such callback address", headers=_CLOSE)

    async def _take(
        self, job_id: str, method: str, headers: Mapping[str, str], receive: Receive, note: dict[str, Any]
    ) -> Answer:
        if method != "POST":
            raise Problem(405, "Method Not Allowed", headers={"Allow": "POST", **_CLOSE})
        arrival, refusal = self._judged(job_id, headers, await self._body(headers, receive))
        is_new = await self.inbox.put(arrival)
        note.update(verdict=arrival.verdict, status=arrival.status, new=is_new)
        if is_new is None:
            raise Problem(404, "no such callback address")
        if refusal:
            raise refusal
        if is_new and arrival.ends:
            self.nudge(job_id)
        return Answer(204)

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        if int(headers.get("content-length", 0)) > self.limit:
            raise self._too_long()
        try:
            return await body_of(receive, limit=self.limit, seconds=_BODY_SECONDS)
        except TooLong:
            raise self._too_long() from None
        except TimeoutError:
            raise Problem(408, f"the body did not come within {_BODY_SECONDS} s", headers=_CLOSE) from None

    def _too_long(self) -> Problem:
        return Problem(413, f"the body is longer than {self.limit} bytes", headers=_CLOSE)

    def _judged(self, job_id: str, headers: Mapping[str, str], body: bytes) -> tuple[Arrival, Problem | None]:
        """What is kept of it, and what its sender has to be told instead of 204."""
        now = self.clock()
        if (forged := self._forged(headers, body, now)) is not None:
            refusal = Problem(401, "the callback's signature does not hold", forged)
            return Arrival(job_id, body, f"refused: {forged}", None, now), refusal
        try:
            said = read_callback(body)
            ends = said.status not in {TaskStatus.SUBMITTED, TaskStatus.PROCESSING}
            return Arrival(job_id, body, UNDERSTOOD, _storable(said.status_word), now, ends), None
        except MalformedCallback as fault:
            verdict = f"malformed: {fault}"
            return Arrival(job_id, body, verdict, None, now), Problem(400, "the body is no callback of Kling", verdict)

    def _forged(self, headers: Mapping[str, str], body: bytes, now: datetime) -> str | None:
        """Why Kling's own signature does not hold; None where it does, or where there is nothing to hold it against.

        Not every account signs, and whether older shapes are signed is not documented: a callback without a signature
        has the token in its URL as proof, as all have.
        """
        if not self.webhook_secrets or "webhook-signature" not in headers:
            return None
        try:
            verify_signature(headers, body, self.webhook_secrets, now.timestamp())
        except BadSignature as fault:
            return str(fault)
        return None


def _storable(word: str) -> str:
    """A status as a column of text takes it: JSON may hold what PostgreSQL does not, and any length."""
    return word if word.isprintable() and len(word) <= _LONGEST_WORD else "(unreadable)"
