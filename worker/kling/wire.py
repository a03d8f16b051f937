"""The wire: a request becomes a call made of plain values, an answer becomes a task or one of the named errors.

Nobody else looks at a status code. Source: spec sections 1, 5 and 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from worker.jobs.retry import moment, retry_after
from worker.kling.answers import Output, Task, TaskStatus, task_of, text_of
from worker.kling.errors import KlingError, MalformedAnswer, MalformedBody, error_class, page_class
from worker.kling.gateways import Account
from worker.kling.strictjson import dumps, loads
from worker.kling.token import authorization

__all__ = [
    "Call",
    "Output",
    "Task",
    "TaskStatus",
    "create",
    "query",
    "read_own",
    "read_task",
]


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP request as values. Headers hold the credential and bodies whole files: neither is printed."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


def create(
    account: Account, family: str, body: Mapping[str, Any], *, callback_url: str, external_task_id: str, now: float
) -> Call:
    """Ask for a task. The caller's own callback and id are replaced by ours; everything else goes as it came."""
    sent = {**body, "callback_url": callback_url, "external_task_id": external_task_id}
    headers = {**_headers(account, now), "Content-Type": "application/json"}
    return Call("POST", _url(account, family), headers, dumps(sent))


def query(account: Account, family: str, task_id: str, *, now: float) -> Call:
    """Ask what is true of a task, by the provider's id or by ours."""
    return Call("GET", f"{_url(account, family)}/{quote(task_id, safe='')}", _headers(account, now), None)


def passed(account: Account, method: str, path: str, query: str, body: bytes | None, *, now: float) -> Call:
    """Any other call, handed on: `path` is below /v1, or from the root where it begins with a slash."""
    where = path if path.startswith("/") else f"/v1/{path}"
    headers = _headers(account, now)
    if body is not None:
        headers["Content-Type"] = "application/json"
    return Call(method, f"{account.base_url}{account.prefix}{where}{'?' if query else ''}{query}", headers, body)


def read_task(status: int, headers: Mapping[str, str], body: bytes) -> Task:
    """The task in an answer to `create` or `query`. Raises `KlingError` or one of its kind, for all bytes."""
    return _task(status, _answer(status, headers, body))


def read_own(status: int, headers: Mapping[str, str], body: bytes, *, task_id: str | None, external: str) -> Task:
    """The task in an answer to `query`, if it is the one that was asked for. Raises as `read_task` does.

    `task_id`: the provider's, where it was asked for by that. With another one's ids, or in a list that names neither,
    it is somebody else's.
    """
    answer = _answer(status, headers, body)
    task, listed = _task(status, answer), isinstance(answer.get("data"), list)
    named = external == task.external_task_id or (task_id is not None and task_id == task.task_id)
    if named or (task.external_task_id is None and not listed):
        return task
    raise MalformedAnswer("the answer shows another task", http_status=status, request_id=_request_id(answer))


def _task(status: int, answer: Mapping[str, Any]) -> Task:
    data = answer.get("data")
    if isinstance(data, list):
        data = data[0] if len(data) == 1 else None
    task = task_of(data if isinstance(data, Mapping) else answer)
    if task is None:
        raise MalformedAnswer("the answer names no task", http_status=status, request_id=_request_id(answer))
    return task


def _url(account: Account, family: str) -> str:
    return f"{account.base_url}{account.prefix}/v1/{family}"


def _headers(account: Account, now: float) -> dict[str, str]:
    return {"Authorization": authorization(account, now), "Accept": "application/json"}


def _answer(status: int, headers: Mapping[str, str], body: bytes) -> Mapping[str, Any]:
    """The envelope of a good answer. An error is one by its HTTP status or by its code, whichever says so."""
    try:
        answer = loads(body)
    except MalformedBody as problem:
        raise _unreadable(status, headers, str(problem)) from None
    if not isinstance(answer, Mapping):
        raise _unreadable(status, headers, "the answer is not a JSON object")
    code, failed = _code(answer.get("code"))
    if not 200 <= status < 300 and not (failed or _is_refusal(status, answer)):
        raise _unreadable(status, headers, "the answer is not Kling's")
    if failed or not 200 <= status < 300:
        raise error_class(code, status)(
            _reason(answer) or f"HTTP {status}",
            http_status=status,
            code=code,
            request_id=_request_id(answer),
            wait=_wait(headers),
        )
    return answer


def _is_refusal(status: int, answer: Mapping[str, Any]) -> bool:
    """Whether JSON without a code is an error of a gateway's, and not of whatever stands before it."""
    return status in {400, 422} or isinstance(answer.get("error"), Mapping)


def _reason(answer: Mapping[str, Any]) -> str | None:
    """Why: in Kling's envelope, or in the `error` object that gateways in OpenAI's manner answer with."""
    error = answer.get("error")
    nested = error.get("message") if isinstance(error, Mapping) else error
    return text_of(answer.get("message")) or text_of(nested)


def _unreadable(status: int, headers: Mapping[str, str], reason: str) -> KlingError:
    """An error page of something in between: its HTTP status is all that it says."""
    if 200 <= status < 300:
        return MalformedAnswer(reason, http_status=status)
    kind = (_header(headers, "Content-Type") or "no type").partition(";")[0]
    said = f"HTTP {status} with a body that is not Kling's ({kind})"
    return page_class(status)(said, http_status=status, page=True, wait=_wait(headers))


def _wait(headers: Mapping[str, str]) -> float:
    """Seconds for which an answer asks not to be asked again, by its own clock where it names a date; capped."""
    return retry_after(_header(headers, "Retry-After"), moment(_header(headers, "Date")))


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return next((value for one, value in headers.items() if one.lower() == name.lower()), None)


def _code(value: object) -> tuple[int | None, bool]:
    """Kling's number, and whether it tells of a failure. Gateways write words there: `success`, `task_failed`."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        # 200 is what some gateways write for 0; Kling's own codes have four digits.
        return (None, False) if value in {0, 200} else (value, True)
    return None, isinstance(value, str) and value.lower() not in {"", "success", "succeed", "ok"}


def _request_id(answer: Mapping[str, Any]) -> str | None:
    return text_of(answer.get("request_id"))
