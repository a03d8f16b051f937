"""The strings of a request, wherever they stand in it, but for those that are a person's own words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

#: Fields whose text is the user's own: an address in it is not ours to replace.
_WORDS = frozenset({"prompt", "negative_prompt", "text", "sound_effect_prompt", "bgm_prompt"})


def strings(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every string with its path, such as `image_list[0].image_url`."""
    for name, value in body.items():
        if name not in _WORDS:
            yield from _below(name, value)


def _below(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, text in strings(value):
            yield f"{path}.{name}", text
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _below(f"{path}[{number}]", item)


def mapped(body: Mapping[str, Any], change: Callable[[str], Any]) -> dict[str, Any]:
    """`body` with `change` made to every such string."""
    return {name: value if name in _WORDS else _changed(value, change) for name, value in body.items()}


def _changed(value: Any, change: Callable[[str], Any]) -> Any:
    if isinstance(value, Mapping):
        return mapped(value, change)
    if isinstance(value, list):
        return [_changed(item, change) for item in value]
    return change(value) if isinstance(value, str) else value
