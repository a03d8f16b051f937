"""What a rule is, and the complaints that many of them share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.emulator.ask import Ask
from infra.emulator.config import Edition

#: The complaint about a body, None if there is none.
Check = Callable[[Ask], str | None]
EVERY = frozenset(Edition)


@dataclass(frozen=True)
class Rule:
    """One rule, and the editions in which it holds."""

    number: str
    check: Check
    editions: frozenset[Edition] = EVERY
    #: Holds only where the emulator is to refuse what sources disagree about, too.
    strict: bool = False


def one_of(ask: Ask, key: str, allowed: Iterable[str]) -> str | None:
    """R008: enums are case-sensitive strings."""
    value = ask.get(key)
    if value is None or (isinstance(value, str) and value in allowed):
        return None
    return f"{key} value '{value}' is invalid"


def digits(value: object) -> int | None:
    """A whole number from 0 on that came as a number, or as a string of its digits; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def enum(key: str, *allowed: str) -> Check:
    """A rule that `key` is absent or one of `allowed`."""
    return lambda ask: one_of(ask, key, allowed)


def whole(key: str, low: int, high: int) -> Check:
    """A rule that `key` is a whole number from `low` to `high`; an official sample sends it as a string."""

    def check(ask: Ask) -> str | None:
        value = ask.get(key)
        if value is None:
            return None
        number = digits(value)
        good = number is not None and low <= number <= high
        return None if good else f"{key} must be between {low} and {high}"

    return check


def fraction(key: str, low: float, high: float) -> Check:
    """A rule that `key` is a number from `low` to `high`."""

    def check(ask: Ask) -> str | None:
        value = ask.get(key)
        if value is None:
            return None
        good = not isinstance(value, bool) and isinstance(value, int | float)
        return None if good and low <= value <= high else f"{key} must be between {low} and {high}"

    return check


def at_most(key: str, most: int, least: int = 0) -> Check:
    """A rule about how many entries the list `key` has."""

    def check(ask: Ask) -> str | None:
        count = len(ask.rows(key))
        return None if least <= count <= most else f"{key} must have {least} to {most} entries"

    return check


def just_one(*keys: str) -> Check:
    """R120: exactly one of `keys` is present."""
    return lambda ask: one_present(ask.body, *keys)


def one_present(fields: Mapping[str, Any], *keys: str) -> str | None:
    """The complaint that not exactly one of `keys` is there."""
    present = [key for key in keys if fields.get(key) not in (None, "")]
    return None if len(present) == 1 else f"exactly one of {', '.join(keys)} is required"


def no_longer(key: str, most: int) -> Check:
    """A rule that the string `key` has at most `most` characters."""
    return lambda ask: f"{key} must not exceed {most} characters" if len(str(ask.get(key, ""))) > most else None
