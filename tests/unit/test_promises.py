"""The judge of the chaos runs: it sees what it is there to see."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from tests.chaos.promises import Facts, asked_for_once
from tests.chaos.world import World
from tests.fakes import MORNING


class _Patient:
    """A world in which absence takes half a minute to prove."""

    absent_seconds = 30.0


def judged(*sent: tuple[float, bool]) -> list[str]:
    """What the judge says of a job whose creates came then; whether each was refused for sure."""
    emulator: dict[str, Any] = {"tasks": [], "creates": {"job": len(sent)}, "sent": {"job": list(sent)}}
    begun = [{"type": "job.submitting", "at": MORNING} for _ in sent]
    facts = Facts({}, {"job": begun}, [], [], [], emulator, Counter())
    return asked_for_once(cast("World", _Patient()), facts, frozenset())


def test_an_early_repetition_hides_behind_no_long_wait() -> None:
    """P4: each gap between creates that really came counts, unless Kling said for sure that it made nothing."""
    assert ["job: created again after 5 s, before absence could be proven"] == judged(
        (0, False), (5, False), (400, False)
    )
    assert [] == judged((0, True), (5, False), (40, False))
