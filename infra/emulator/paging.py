"""R010: which part of a list is wanted."""

from collections.abc import Mapping, Sequence
from typing import Any

from infra.emulator.wire import Refusal


def paging(query: Mapping[str, str], largest: int = 500) -> tuple[int, int]:
    """`pageNum`, from 1, and `pageSize`; Refusal 1201 beyond their limits."""
    return _whole(query, "pageNum", 1, 1000), _whole(query, "pageSize", 30, largest)


def page_of(rows: Sequence[Any], query: Mapping[str, str], largest: int) -> list[Any]:
    """The part of `rows` that a query wants."""
    number, size = paging(query, largest)
    return list(rows[(number - 1) * size : number * size])


def _whole(query: Mapping[str, str], key: str, default: int, most: int) -> int:
    value = query.get(key) or str(default)
    if not value.isascii() or not value.isdecimal() or len(value) > 9 or not 1 <= int(value) <= most:
        raise Refusal(1201, f"{key} must be between 1 and {most}")
    return int(value)
