"""The editions of the reference that rules are dated by. Source: spec, head."""

from __future__ import annotations

#: Oldest first. 2026-02 is profile A (the seeds), 2026-03 profile B, 2026-06 profile L.
EDITIONS = ("2026-02", "2026-03", "2026-06")
SEEDS = EDITIONS[0]
NEWEST = EDITIONS[-1]


def since(edition: str) -> frozenset[str]:
    """That edition and all later ones."""
    return frozenset(EDITIONS[EDITIONS.index(edition) :])


def until(edition: str) -> frozenset[str]:
    """That edition and all earlier ones."""
    return frozenset(EDITIONS[: EDITIONS.index(edition) + 1])


ALL = since(SEEDS)
