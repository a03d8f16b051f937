"""Links in a task's result, and where each stands: so that one is seen which no edition of the reference names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

#: More than that are not files of one task.
MOST = 20
_LINK = re.compile(r"https?://\S{1,8000}", re.IGNORECASE)
_ODD = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_STEP, _LONGEST_PLACE = 40, 200
#: What tells an entry of a list from the others, in whatever order they come.
_ENTRY = re.compile(r"\[[^]]*\]")
#: What tells that a name is no field's: a long number, or in a long name letters and digits that take turns as in no
#: word. `image2video` and `1080p` are words.
_ID = re.compile(r"\d{5}|^(?=.{16}).*?(?<![A-Za-z\d])(?:(?:[A-Za-z]+\d+){2}|(?:\d+[A-Za-z]+){2})")


def links(result: Mapping[str, Any], named: Collection[str]) -> tuple[list[tuple[str, str]], int]:
    """Each link in `result` that is not among `named`, with its place: `videos[77].cover_url`, 77 being the id of the
    entry, or its number where it has none. No link and no place comes twice; `MOST` at most, and how many more there
    are.
    """
    first: dict[str, str] = {}
    for place, url in _walk("", result):
        if url not in named:
            first.setdefault(url, place)
    found: dict[str, str] = {}
    for url, place in islice(first.items(), MOST):
        free = next(one for one in _names(place[:_LONGEST_PLACE]) if one not in found)
        found[free] = url
    return [*found.items()], len(first) - len(found)


def field(place: str) -> str:
    """What stands at a place, in any task's result: `videos[].cover_url`; `meshes.*.url`, where a name is an id."""
    return ".".join(map(_folded, _ENTRY.sub("[]", place).split(".")))


def _folded(step: str) -> str:
    name = step.rstrip("[]")
    return f"*{step[len(name) :]}" if _ID.search(name) else step


def _names(place: str) -> Iterator[str]:
    yield place
    for number in count(2):
        yield f"{place}-{number}"


def _walk(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """What was read strictly is not too deep for this."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _walk(f"{place}.{_step(name)}" if place else _step(name), inner)
    elif isinstance(value, list):
        for number, inner in zip(_numbers(value), value, strict=True):
            yield from _walk(f"{place}[{_told_apart(inner, number)}]", inner)
    elif isinstance(value, str) and _LINK.fullmatch(value):
        yield place, value


def _numbers(entries: Sequence[Any]) -> Sequence[int]:
    """The provider's `index` of each, where that tells them apart, as another answer need not keep their order."""
    named = [entry["index"] for entry in entries if isinstance(entry, Mapping) and type(entry.get("index")) is int]
    return named if sorted(named) == list(range(len(entries))) else range(len(entries))


def _told_apart(entry: Any, number: int) -> str:
    named = entry.get("id") if isinstance(entry, Mapping) else None
    return _step(str(named)) if named and isinstance(named, str | int) else str(number)


def _step(text: str) -> str:
    return _ODD.sub("-", text)[:_LONGEST_STEP]
