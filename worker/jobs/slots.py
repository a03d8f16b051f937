"""Slots: how many tasks an account may have at the provider at once, as far as anybody knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

#: After the provider has taught a lower limit, one slot more is tried each time that this much has passed.
UNLEARN = timedelta(seconds=30)
#: How often one job may be sent to a stopped account, to see whether it is still refused.
PROBE = timedelta(seconds=60)


class Asking(NamedTuple):
    """A job that waits for slots of a pack."""

    id: str
    caller: str
    slots: int  #: that it needs
    since: datetime  #: its age


def limit(configured: int, learned: int | None, learned_at: datetime | None, now: datetime) -> int:
    """Slots in force: the configured ones, or fewer for a while after the provider refused a job for want of one."""
    if learned is None or learned_at is None:
        return configured
    return max(1, min(configured, learned + max(0, (now - learned_at) // UNLEARN)))


def pack(account: str, family: str) -> str:
    """Where slots are counted: an account has a resource pack for each kind of task, with slots of its own."""
    return f"{account}:{family.partition('/')[0]}"


def in_turn(asking: Iterable[Asking], held: Mapping[str, int], shares: Mapping[str, int], allowed: int) -> list[str]:
    """Ids of the jobs that may have the free slots of a pack, of the `allowed` in all.

    `held`: slots in use by caller. `shares`: how many a caller may hold, where that is less than all.

    The next slot goes to the caller who holds the smallest part of what he may hold; among equals to the one with the
    oldest job. A caller's own jobs go by age. When too few slots are free for the job whose turn it is, they are kept
    for it. A job that needs more slots than there are goes when none is taken; one that needs more than its caller may
    hold, when that caller holds none.
    """
    lines: dict[str, list[Asking]] = {}
    for job in sorted(asking, key=lambda job: (job.since, job.id), reverse=True):
        lines.setdefault(job.caller, []).append(job)
    holds, taken, turns = dict(held), sum(held.values()), []

    def claim(caller: str) -> tuple[float, datetime, str]:
        head = lines[caller][-1]
        return holds.get(caller, 0) / min(shares.get(caller, allowed), allowed), head.since, head.id

    while lines:
        caller = min(lines, key=claim)
        job, own, share = lines[caller][-1], holds.get(caller, 0), shares.get(caller)
        if share and own and own + job.slots > share:
            del lines[caller]  # nobody else's slots are kept for him
            continue
        if taken and taken + job.slots > allowed:
            break
        turns.append(job.id)
        holds[caller], taken = own + job.slots, taken + job.slots
        lines[caller].pop()
        if not lines[caller]:
            del lines[caller]
    return turns
