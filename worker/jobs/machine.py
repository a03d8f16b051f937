"""How a job moves: one table, total and pure.

Callback, poll, sweep and operator all come through `move`. A pair that is not in the table changes nothing: that is
how a late callback, a repeated message and an end that absorbs are all the same case.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from worker.jobs.model import State


class Event(StrEnum):
    """What happened, in the past tense."""

    INPUTS_READY = "inputs_ready"  #: every job that it waits for is archived, and what they made will do
    INPUTS_LOST = "inputs_lost"  #: one of them ended otherwise, or what it made won't do
    SUBMIT_BEGUN = "submit_begun"  #: the intent is in the row, the request may leave
    SUBMIT_TAKEN = "submit_taken"  #: the provider answered with a task, or a look-up found one
    SUBMIT_DEFERRED = "submit_deferred"  #: surely not created: no slot, no connection, or a look-up that says so
    SUBMIT_REFUSED = "submit_refused"  #: the provider won't have this request
    SUBMIT_UNSETTLED = "submit_unsettled"  #: every look-up is used up and the question stands
    TASK_SUCCEEDED = "task_succeeded"
    TASK_FAILED = "task_failed"
    TASK_LOST = "task_lost"  #: the provider no longer knows it, or never ends it
    FILES_PROVEN = "files_proven"  #: all of them, and the manifest
    FILES_UNPROVABLE = "files_unprovable"  #: no fresh link gave bytes that hold
    CANCEL_ASKED = "cancel_asked"


class Step(StrEnum):
    """What a job in some state wants next; the task that does it."""

    SUBMIT = "submit"
    FOLLOW_UP = "follow_up"
    ARCHIVE = "archive"
    ANNOUNCE = "announce"


class Move(NamedTuple):
    """Where an event leads. `step` is None where there is nothing to do."""

    state: State
    step: Step | None


_S, _E = State, Event

TABLE = MappingProxyType(
    {
        (_S.WAITING, _E.INPUTS_READY): Move(_S.ACCEPTED, Step.SUBMIT),
        (_S.WAITING, _E.INPUTS_LOST): Move(_S.FAILED, Step.ANNOUNCE),
        (_S.WAITING, _E.CANCEL_ASKED): Move(_S.CANCELLED, Step.ANNOUNCE),
        (_S.ACCEPTED, _E.SUBMIT_BEGUN): Move(_S.SUBMITTING, Step.FOLLOW_UP),
        # A create that was thought absent and shows itself after all is adopted, never asked for again.
        (_S.ACCEPTED, _E.SUBMIT_TAKEN): Move(_S.RUNNING, Step.FOLLOW_UP),
        (_S.ACCEPTED, _E.SUBMIT_REFUSED): Move(_S.FAILED, Step.ANNOUNCE),
        (_S.ACCEPTED, _E.CANCEL_ASKED): Move(_S.CANCELLED, Step.ANNOUNCE),
        (_S.SUBMITTING, _E.SUBMIT_TAKEN): Move(_S.RUNNING, Step.FOLLOW_UP),
        (_S.SUBMITTING, _E.SUBMIT_DEFERRED): Move(_S.ACCEPTED, Step.SUBMIT),
        (_S.SUBMITTING, _E.SUBMIT_REFUSED): Move(_S.FAILED, Step.ANNOUNCE),
        (_S.SUBMITTING, _E.SUBMIT_UNSETTLED): Move(_S.UNKNOWN, Step.ANNOUNCE),
        (_S.RUNNING, _E.TASK_SUCCEEDED): Move(_S.COPYING, Step.ARCHIVE),
        (_S.RUNNING, _E.TASK_FAILED): Move(_S.FAILED, Step.ANNOUNCE),
        (_S.RUNNING, _E.TASK_LOST): Move(_S.EXPIRED, Step.ANNOUNCE),
        (_S.COPYING, _E.FILES_PROVEN): Move(_S.ARCHIVED, Step.ANNOUNCE),
        (_S.COPYING, _E.FILES_UNPROVABLE): Move(_S.FAILED, Step.ANNOUNCE),
        (_S.COPYING, _E.TASK_LOST): Move(_S.EXPIRED, Step.ANNOUNCE),
    }
)

#: What a job that lies in a state wants done when it is due.
DUE_STEP = MappingProxyType(
    {
        State.WAITING: Step.SUBMIT,
        State.ACCEPTED: Step.SUBMIT,
        State.SUBMITTING: Step.FOLLOW_UP,
        State.RUNNING: Step.FOLLOW_UP,
        State.COPYING: Step.ARCHIVE,
    }
)


def move(state: State, event: Event) -> Move | None:
    """Where `event` takes a job in `state`; None when it changes nothing."""
    return TABLE.get((state, event))
