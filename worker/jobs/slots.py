"""Slots: how many tasks an account may have at the provider at once, as far as anybody knows."""

from __future__ import annotations

from datetime import datetime, timedelta

#: After a refusal for want of a slot, one more is tried each time that this much has passed.
UNLEARN = timedelta(seconds=30)
#: How often one job may try whether a stopped account still is.
PROBE = timedelta(seconds=60)


def limit(configured: int, learned: int | None, learned_at: datetime | None, now: datetime) -> int:
    """Slots in force: the configured ones, or fewer for a while after the provider said that it was fewer."""
    if learned is None or learned_at is None:
        return configured
    return max(1, min(configured, learned + max(0, (now - learned_at) // UNLEARN)))


def pack(account: str, family: str) -> str:
    """Where slots are counted: an account has a resource pack for each kind of task, with slots of its own."""
    return f"{account}:{family.partition('/')[0]}"
