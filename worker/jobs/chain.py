"""A chain of jobs, each standing on earlier ones, seen as one."""

from __future__ import annotations

from collections.abc import Sequence

from worker.jobs.model import ENDS, State


def overall(states: Sequence[State]) -> State:
    """The state of a chain: of the first job that went wrong, else of the first that is not archived yet.

    `states` are those of its jobs, earlier ones first. What went wrong first is the cause of what went wrong after.

    >>> overall([State.ARCHIVED, State.RUNNING, State.WAITING]).value
    'running'
    """
    ended_badly = (state for state in states if state in ENDS and state is not State.ARCHIVED)
    open_ones = (state for state in states if state not in ENDS)
    return next(ended_badly, None) or next(open_ones, State.ARCHIVED)
