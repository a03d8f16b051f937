"""What a route says of itself, beside its code: read by `openapi.py`, which makes the API's description of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

_View = TypeVar("_View", bound=Callable[..., Any])
_ATTRIBUTE = "operation"


@dataclass(frozen=True)
class Operation:
    """One route, as its callers see it. The text under `summary` is the view's docstring."""

    summary: str
    tag: str
    answer: type[BaseModel] | None = None  #: what comes when all is well; None: no body
    status: int = 200  #: of that
    body: type[BaseModel] | None = None  #: JSON that is sent
    query: type[BaseModel] | None = None  #: its fields are the query's parameters
    path: Mapping[str, str] | None = None  #: what the parts of the path mean
    headers: type[BaseModel] | None = None  #: its fields' aliases are headers that may be sent
    problems: tuple[int, ...] = ()  #: statuses of its own errors, beside those that every route has
    also: Mapping[int, type[BaseModel]] | None = None  #: other statuses with bodies of their own
    open: bool = False  #: needs no key
    free: bool = False  #: needs no database either
    media: str = "application/json"  #: of the answer


def documented(operation: Operation) -> Callable[[_View], _View]:
    """Attach `operation` to a view."""

    def attach(view: _View) -> _View:
        setattr(view, _ATTRIBUTE, operation)
        return view

    return attach


def operation_of(view: object) -> Operation | None:
    """What a view says of itself; None where it says nothing."""
    found = getattr(view, _ATTRIBUTE, None)
    return found if isinstance(found, Operation) else None
