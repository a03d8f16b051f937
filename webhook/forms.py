"""What our own routes are asked with: bodies and queries as models, and faults that name field, rule and fix."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, field_validator

from webhook import bodies
from webhook.auth import caller
from webhook.problems import Problem
from webhook.wiring import Door
from worker.jobs.access import Scope
from worker.jobs.model import Job

#: Bytes of a body on our own routes.
_LIMIT = 64 * 1024
_Form = TypeVar("_Form", bound="Form")
#: What a job is named by, in a route.
NAMED = {"name": "our id of the job, or your external_task_id"}
MOMENT = "a time with its zone, such as 2026-11-21T09:00:00Z"


def zoned(value: datetime) -> datetime:
    """A time in UTC: without a zone it would mean another one on each machine. Raises `ValueError`."""
    if value.tzinfo is None:
        raise ValueError("must say its zone")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the calendar") from None


Moment = Annotated[datetime, AfterValidator(zoned)]


class Form(BaseModel):
    """The base of every such model: a field that nobody knows is a fault."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    @field_validator("*")
    @classmethod
    def without_nul(cls, value: Any) -> Any:
        """No row can hold one."""
        if isinstance(value, str) and "\0" in value:
            raise ValueError("must not hold a NUL character")
        return value


def asker(here: Door) -> str:
    """The name of the API key that asks. Raises `KlingProblem` where it lacks the scope: GET and HEAD only look."""
    return caller(here, Scope.READ if request.method in {"GET", "HEAD"} else Scope.OPERATE).name


def job_of(here: Door, who: str, name: str) -> Job:
    """A caller's job, by our id or its own. Raises `Problem` 404."""
    job = None if "\0" in name else here.store.find(who, name)  # which no row can hold
    if job is None:
        raise Problem(404, "no such job")
    return job


def body(form: type[_Form]) -> _Form:
    """The request's body; an empty one is an empty object. Raises `BadBody`, and `Problem` 400 with every fault."""
    raw = bodies.read(request, _LIMIT)
    return _understood(form, bodies.parse_object(raw) if raw.strip() else {}, "the request body is not right")


def query(form: type[_Form]) -> _Form:
    """The request's query. Raises `Problem` 400 with every fault."""
    return _understood(form, request.args.to_dict(), "the query is not right")


def _understood(form: type[_Form], values: Mapping[str, Any], title: str) -> _Form:
    try:
        return form.model_validate(values)
    except ValidationError as problem:
        faults = [_fault(form, error) for error in problem.errors(include_url=False, include_input=False)]
    detail = "; ".join(f"{one['field']} {one['rule']}" for one in faults)
    raise Problem(400, title, detail, errors=faults) from None


def _fault(form: type[BaseModel], error: Mapping[str, Any]) -> dict[str, str]:
    """One fault: the field, the rule that it broke, and what would mend it."""
    field = ".".join(map(str, error["loc"])) or "body"
    rule = str(error["msg"]).removeprefix("Value error, ")
    rule = rule[:1].lower() + rule[1:]
    if error["type"] == "extra_forbidden":
        rule, fix = "is not known", f"use one of {', '.join(form.model_fields)}, or leave it out"
    elif error["type"] == "missing":
        rule, fix = "is missing", _described(form, error["loc"])
    else:
        fix = _described(form, error["loc"])
    return {"field": field, "rule": rule, "fix": fix}


def _described(form: type[BaseModel], location: tuple[Any, ...]) -> str:
    known = form.model_fields.get(str(location[0])) if location else None
    return (known and known.description) or "see the rule"
