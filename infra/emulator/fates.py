"""What a prompt can script about its own task: `[fate: NAME, NAME=VALUE]`, anywhere in it.

Seconds are real ones, whatever the speed.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from infra.emulator.wire import Refusal

_TAG = re.compile(r"\[fate:([^\]]*)\]")


@dataclass(frozen=True)
class Fates:
    """How a task departs from the ordinary."""

    fail: bool = False
    callbacks: bool = True
    copies: int = 1
    #: Seconds from being queryable as final to the final callback.
    late: float = 0.0
    #: Seconds that a query lags behind the final callback.
    early: float = 0.0
    #: A callback leaves before the create reply.
    before_reply: bool = False
    slowness: float = 1.0
    fast: bool = False


#: The one table: name -> how it changes the fates, given its number (1 if none was written).
FATES: dict[str, Callable[[Fates, float], Fates]] = {
    "fail": lambda fates, _: replace(fates, fail=True),
    "no_callback": lambda fates, _: replace(fates, callbacks=False),
    "callback_twice": lambda fates, _: replace(fates, copies=2),
    "callback_late": lambda fates, seconds: replace(fates, late=seconds),
    "callback_early": lambda fates, seconds: replace(fates, early=seconds, before_reply=True),
    "callback_before_reply": lambda fates, _: replace(fates, before_reply=True),
    "slow": lambda fates, factor: replace(fates, slowness=factor),
    "fast": lambda fates, _: replace(fates, fast=True),
}


def read(prompts: Iterable[str]) -> Fates:
    """The fates written in any of `prompts`; Refusal 1201 names the known ones if one is unknown."""
    fates = Fates()
    for prompt in prompts:
        for tag in _TAG.findall(prompt):
            for word in filter(None, (part.strip() for part in tag.split(","))):
                fates = _apply(fates, word)
    return fates


def _apply(fates: Fates, word: str) -> Fates:
    name, _, value = (part.strip() for part in word.partition("="))
    try:
        return FATES[name](fates, float(value or 1))
    except (KeyError, ValueError):
        raise Refusal(1201, f"unknown fate '{word}', known are: {', '.join(FATES)}") from None
