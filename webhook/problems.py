"""What is said when something is wrong: Kling's envelope on Kling's paths, problem+json on our own.

Source of codes and statuses: Kling's error reference.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, jsonify, request
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from infra.db import is_away, is_behind
from infra.log import logger
from webhook.bodies import BadBody
from worker.accept import Refused
from worker.store.repository import MaybeStored
from worker.store.steps import BEHIND

log = logger(__name__)

#: Seconds after which a caller may try again when the database could not be reached.
AGAIN_SECONDS = "5"
NO_DATABASE = "the database cannot be reached just now; nothing was stored, try again"


class KlingProblem(Exception):
    """An error in Kling's own terms."""

    def __init__(self, http_status: int, code: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.message = message
        self.headers = headers or {}


class Problem(Exception):
    """An error of our own routes (RFC 9457)."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors  #: each fault with `field`, `rule` and `fix`
        self.headers = headers or {}


def envelope(data: Any, *, code: int = 0, message: str = "SUCCEED", status: int = 200) -> tuple[Response, int]:
    """Kling's answer around `data`; without `data` when that is None, as Kling's errors are."""
    body = {"code": code, "message": message, "request_id": str(uuid.uuid4())}
    return jsonify(body if data is None else {**body, "data": data}), status


def problem(status: int, title: str, detail: str = "", errors: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    """An RFC 9457 problem."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
    body |= {"detail": detail} if detail else {}
    return body | ({"errors": list(errors)} if errors else {})


def install(app: Flask) -> None:
    """Give every error of `app` a shape that its caller can read."""
    app.register_error_handler(KlingProblem, _kling_problem)
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(BadBody, _bad_body)
    app.register_error_handler(DBAPIError, _database)
    app.register_error_handler(PoolTimeout, _no_database)
    app.register_error_handler(MaybeStored, _maybe_stored)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unforeseen)


def speaks_kling() -> bool:
    """Whether the request came on one of Kling's paths."""
    return request.path.startswith(("/v1/", "/kling/", "/account/"))


def _say(
    status: int, code: int, title: str, detail: str = "", errors: Sequence[Mapping[str, str]] = ()
) -> tuple[Response, int]:
    if speaks_kling():
        message = f"{title}: {detail}" if detail else title
        return envelope(None, code=code, message=message, status=status)
    answer = jsonify(problem(status, title, detail, errors))
    answer.content_type = "application/problem+json"
    return answer, status


def _kling_problem(fault: KlingProblem) -> tuple[Response, int]:
    answer, status = _say_as_kling(fault.http_status, fault.code, fault.message)
    answer.headers.update(fault.headers)
    return answer, status


def _say_as_kling(status: int, code: int, message: str) -> tuple[Response, int]:
    """What is said in Kling's words also where the asker does not speak Kling."""
    return _say(status, code, message) if speaks_kling() else _say(status, code, HTTPStatus(status).phrase, message)


def _refused(fault: Refused) -> tuple[Response, int]:
    return _say(fault.http_status, fault.code, fault.message)


def _problem(fault: Problem) -> tuple[Response, int]:
    return _say(fault.status, 1200, fault.title, fault.detail, fault.errors)


def _bad_body(fault: BadBody) -> tuple[Response, int]:
    return _say(fault.status, 1201 if fault.status == 400 else 1200, str(fault))


def _database(fault: DBAPIError) -> tuple[Response, int]:
    """The fault is the database's, or ours."""
    return _no_database(fault) if isinstance(fault, OperationalError) or is_away(fault) else _unforeseen(fault)


def _no_database(fault: Exception) -> tuple[Response, int]:
    log.error("door.no_database", reason=refusal(fault))
    answer, status = _say(503, 5001, NO_DATABASE)
    answer.headers["Retry-After"] = AGAIN_SECONDS
    return answer, status


def refusal(fault: Exception) -> str:
    """What a line says of a database that took nothing: more than a word only where somebody has to do something."""
    return BEHIND if is_behind(fault) else type(fault).__name__


def _maybe_stored(fault: MaybeStored) -> tuple[Response, int]:
    log.error("door.maybe_stored", job=fault.job_id)
    message = (
        f"the database was lost as it stored the job, and whether it did is not known: ask for task {fault.job_id}. "
        "With the same Idempotency-Key or external_task_id as before the request can be repeated as it is"
    )
    answer, status = _say(503, 5001, message)
    answer.headers["Retry-After"] = AGAIN_SECONDS
    return answer, status


def _http(fault: HTTPException) -> tuple[Response, int]:
    status = fault.code or 500
    if speaks_kling() and status == 405:  # Kling answers a wrong verb with 404 and 1202
        return _say(404, 1202, f"method {request.method} is not valid here")
    if speaks_kling() and status == 404:
        return _say(404, 1203, f"no such resource: {request.path}")
    answer, status = _say(status, 1200 if status < 500 else 5000, fault.name)
    for name, value in fault.get_headers():
        if name == "Allow":
            answer.headers[name] = value
    return answer, status


def _unforeseen(fault: Exception) -> tuple[Response, int]:
    log.error("door.unforeseen", exc_info=fault)
    return _say(500, 5000, "internal error; it is logged")
