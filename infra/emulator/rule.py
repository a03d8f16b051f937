"""What a rule is, and the complaints that many of them share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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


def one_of(ask: Ask, key: str, allowed: Iterable[str]) -> str | None:
    """R008: enums are case-sensitive strings."""
    value = ask.get(key)
    if value is None or (isinstance(value, str) and value in allowed):
        return None
    return f"{key} value '{value}' is invalid"


def enum(key: str, *allowed: str) -> Check:
    """A rule that `key` is absent or one of `allowed`."""
    return lambda ask: one_of(ask, key, allowed)


def whole(key: str, low: int, high: int) -> Check:
    """A rule that `key` is a whole number from `low` to `high`; an official sample sends it as a string."""

    def check(ask: Ask) -> str | None:
        value = ask.get(key)
        if value is None:
            return None
        good = not isinstance(value, bool) and isinstance(value, int | str) and str(value).isdecimal()
        return None if good and low <= int(value) <= high else f"{key} must be between {low} and {high}"

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

    def check(ask: Ask) -> str | None:
        present = [key for key in keys if ask.get(key) is not None]
        return None if len(present) == 1 else f"exactly one of {', '.join(keys)} is required"

    return check


def no_longer(key: str, most: int) -> Check:
    """A rule that the string `key` has at most `most` characters."""
    return lambda ask: f"{key} must not exceed {most} characters" if len(str(ask.get(key, ""))) > most else None
