"""What an API key may do: a value, decided upon by whoever opens a door."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

#: Characters of a prefix: with the rest of a key it has to stay below S3's 1024 bytes.
_LONGEST_PREFIX = 200
_STEP = re.compile(r"[A-Za-z0-9._-]+")
#: Source: Amazon S3 User Guide, "General purpose bucket naming rules".
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RESERVED = ("xn--", "sthree-", "amzn-s3-demo-"), ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


class Scope(StrEnum):
    """A kind of asking."""

    SUBMIT = "submit"  #: what makes work or costs money: creates, and whatever else is POSTed to Kling
    READ = "read"  #: tasks, jobs, files and lists
    OPERATE = "operate"  #: what changes the course of things: cancel, subscribe, replay


class NotAllowed(Exception):
    """The key may not do that. The text says how it gets to."""


class BadPlace(ValueError):
    """No bucket's name, or no place in a bucket."""


@dataclass(frozen=True)
class Caller:
    """An API key that came through the door, without the key."""

    name: str
    scopes: frozenset[Scope] = frozenset(Scope)
    #: Where in the bucket it may write; the first is where files go unless a request says otherwise. None: the root.
    prefixes: tuple[str, ...] = ()
    #: Its buckets; the first is where files go unless a request says otherwise. None: the deployment's own.
    buckets: tuple[str, ...] = ()
    per_minute: int | None = None  #: requests, as a bucket that holds as many; None: as many as it likes

    def must(self, scope: Scope) -> None:
        """Raises `NotAllowed` unless the key has `scope`."""
        if scope not in self.scopes:
            wanted = ",".join(sorted({*self.scopes, scope}))
            raise NotAllowed(
                f"API key {self.name!r} lacks the scope {str(scope)!r}; "
                f"whoever runs this Reelhook grants it by: reelhook keys change {self.name} --scopes {wanted}"
            )

    def bucket(self, asked: str | None, own: str) -> str:
        """The bucket that the files of a request go to; empty for the deployment's `own`, which a key without buckets
        has, whatever that is called then. Raises `NotAllowed`, `BadPlace`.
        """
        if asked is None:
            return self.buckets[0] if self.buckets else ""
        allowed = self.buckets or (own,)
        if bucket(asked) not in allowed:
            raise NotAllowed(
                f"API key {self.name!r} may not write to bucket {asked!r}, only to {', '.join(allowed)}; "
                f"whoever runs this Reelhook grants it by: {self._granting(asked, own)}"
            )
        return asked if self.buckets else ""

    def place(self, asked: str | None) -> str:
        """The prefix under which the files of a request go. Raises `NotAllowed`, `BadPlace`."""
        if asked is None:
            return self.prefixes[0] if self.prefixes else ""
        place = prefix(asked)
        if not any(_below(place, own) for own in self.prefixes):
            raise NotAllowed(
                f"API key {self.name!r} may not write below {place or '/'!r} of the bucket; "
                f"whoever runs this Reelhook grants it by: {self._placing(place)}"
            )
        return place

    def reads(self, reference: str, own: str) -> None:
        """Raises `NotAllowed` unless it may name `BUCKET/KEY` as an input: in its buckets, or the deployment's `own`,
        and below its prefixes, where it has any.
        """
        name, _, key = reference.partition("/")
        if name not in (self.buckets or (own,)) or not key:
            places = " or ".join(f"s3://{one}/KEY" for one in self.buckets or (own,))
            granted = f"; another bucket is granted by: {self._granting(name, own)}" if _is_bucket(name) else ""
            raise NotAllowed(f"must be {places}: API key {self.name!r} may name objects of no other bucket{granted}")
        inside = not {"", ".", ".."} & set(key.split("/"))
        if self.prefixes and not (inside and any(_below(key, prefix) for prefix in self.prefixes)):
            places = ", ".join(self.prefixes)
            raise NotAllowed(f"API key {self.name!r} may only name objects of the bucket below {places}")

    def _granting(self, bucket: str, own: str) -> str:
        """The command that gives it one bucket more."""
        names = dict.fromkeys([*(self.buckets or (own,)), bucket])
        return f"reelhook keys change {self.name} {' '.join(f'--bucket {one}' for one in names)}"

    def _placing(self, place: str) -> str:
        """The command that lets it choose `place`, too; where its files go unless a request says otherwise stays."""
        places = [*self.prefixes, place] if self.prefixes else [""]
        return " ".join([f"reelhook keys change {self.name}", *(f"--prefix {one or '/'}" for one in places)])


def bucket(text: str) -> str:
    """A bucket's name, by the rules of S3. Raises `BadPlace`."""
    if not _is_bucket(text):
        raise BadPlace(
            "a bucket's name must be 3 to 63 lower-case letters, digits, hyphens and single dots, with a letter or "
            f"digit at either end, and no IP address nor a name that S3 keeps for itself; found {text[:80]!r}"
        )
    return text


def prefix(text: str) -> str:
    """A place in the bucket without slashes around it; `/` is its root, the empty string. Raises `BadPlace`."""
    place = text.strip("/")
    steps = place.split("/") if place else []
    if not text or len(place) > _LONGEST_PREFIX or not all(_STEP.fullmatch(step) and step.strip(".") for step in steps):
        raise BadPlace(
            f"a prefix must be at most {_LONGEST_PREFIX} characters, steps of letters, digits, dot, underscore and "
            f"hyphen between slashes, none of them dots only; found {text[:80]!r}"
        )
    return place


def _is_bucket(text: str) -> bool:
    begins, ends = _RESERVED
    plain = _BUCKET.fullmatch(text) and not _ADDRESS.fullmatch(text)
    return bool(plain) and not text.startswith(begins) and not text.endswith(ends)


def _below(place: str, own: str) -> bool:
    return not own or place == own or place.startswith(f"{own}/")
