"""What an API key may do: a value, decided upon by whoever opens a door."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

#: Characters of a prefix: with the rest of a key it has to stay below S3's 1024 bytes.
_LONGEST_PREFIX = 200
_STEP = re.compile(r"[A-Za-z0-9._-]+")


class Scope(StrEnum):
    """A kind of asking."""

    SUBMIT = "submit"  #: what makes work or costs money: creates, and whatever else is POSTed to Kling
    READ = "read"  #: tasks, jobs, files and lists
    OPERATE = "operate"  #: what changes the course of things: cancel, subscribe, replay


class NotAllowed(Exception):
    """The key may not do that. The text says how it gets to."""


class BadPrefix(ValueError):
    """No place in a bucket."""


@dataclass(frozen=True)
class Caller:
    """An API key that came through the door, without the key."""

    name: str
    scopes: frozenset[Scope] = frozenset(Scope)
    #: Where in the bucket it may write; the first is where files go unless a request says otherwise. None: the root.
    prefixes: tuple[str, ...] = ()
    per_minute: int | None = None  #: requests, as a bucket that holds as many; None: as many as it likes

    def must(self, scope: Scope) -> None:
        """Raises `NotAllowed` unless the key has `scope`."""
        if scope not in self.scopes:
            wanted = ",".join(sorted({*self.scopes, scope}))
            raise NotAllowed(
                f"API key {self.name!r} lacks the scope {str(scope)!r}; "
                f"whoever runs this Reelhook grants it by: reelhook keys change {self.name} --scopes {wanted}"
            )

    def place(self, asked: str | None) -> str:
        """The prefix under which the files of a request go. Raises `NotAllowed`, `BadPrefix`."""
        if asked is None:
            return self.prefixes[0] if self.prefixes else ""
        place = prefix(asked)
        if not any(_below(place, own) for own in self.prefixes):
            raise NotAllowed(
                f"API key {self.name!r} may not write below {place or '/'!r} of the bucket; "
                f"whoever runs this Reelhook grants it by: reelhook keys change {self.name} --prefix {place or '/'}"
            )
        return place

    def reads(self, key: str) -> bool:
        """Whether it may name the object under `key` as an input: below its prefixes, where it has any."""
        inside = not {"", ".", ".."} & set(key.split("/"))
        return not self.prefixes or (inside and any(_below(key, own) for own in self.prefixes))


def prefix(text: str) -> str:
    """A place in the bucket without slashes around it; `/` is its root, the empty string. Raises `BadPrefix`."""
    place = text.strip("/")
    steps = place.split("/") if place else []
    if not text or len(place) > _LONGEST_PREFIX or not all(_STEP.fullmatch(step) and step.strip(".") for step in steps):
        raise BadPrefix(
            f"a prefix must be at most {_LONGEST_PREFIX} characters, steps of letters, digits, dot, underscore and "
            f"hyphen between slashes, none of them dots only; found {text[:80]!r}"
        )
    return place


def _below(place: str, own: str) -> bool:
    return not own or place == own or place.startswith(f"{own}/")
