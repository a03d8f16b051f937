"""What is told of a job: one table that names each event inside, outside, and in words.

Inside, the timeline counts every step of a job as `job.STATE`. Outside, a receiver hears the steps that mean something
to it, as `video.WORD`, whatever the job makes: a video, an image or a sound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType
from typing import NamedTuple

from worker.jobs.model import State


class Told(NamedTuple):
    """An event as receivers know it."""

    type: str
    meaning: str


_SUBMITTED = Told("video.submitted", "checked, stored and under way; told once")

#: By the state that a job came to. What is not here (submitting, copying) is a step of ours that nobody waits for.
STATES = MappingProxyType(
    {
        State.WAITING: _SUBMITTED,
        State.ACCEPTED: _SUBMITTED,
        State.RUNNING: Told("video.running", "Kling has the task and works on it"),
        State.ARCHIVED: Told("video.archived", "every file is in the bucket and proven"),
        State.FAILED: Told("video.failed", "it won't be made; the reason is known"),
        State.CANCELLED: Told("video.cancelled", "ended by somebody before Kling was asked"),
        State.EXPIRED: Told("video.expired", "Kling never finished it, or its files were gone"),
        State.UNKNOWN: Told("video.unknown", "whether Kling made and billed it could not be settled"),
    }
)
#: Of a job that wants a person: `data.reason` says why, see `REASONS`.
ATTENTION = Told("job.attention", "a person should look")
#: Only in the timeline: the provider says that it has no such task, for the first time or again.
MISSING = "job.missing"
#: Only in the timeline: what the job does without, and why. Whoever copies it next goes by that.
LEFT_OUT = "job.left_out"
#: Only ever sent to the one subscription that asks for it.
TEST = Told("subscription.test", "somebody asked for a test event")
#: Only to `on_done` of a message that never became a job.
REFUSED = Told("video.refused", "the request never became a job")

#: Why a job wants a person.
REASONS = MappingProxyType(
    {
        "unknown": "Kling may have made and billed a task, and nobody can say",
        "slow": "it takes far longer than others of its kind",
        "not_copied": "its files could not be had or proven so far; it is tried on",
        "not_cleared": "something of it may lie in the bucket that the store does not let us remove",
        "field_unknown": "its result links to what this version does not know, and that could not be archived",
        "bucket_away": "the bucket can't be reached, or takes no files; it is tried on",
        "result_at_risk": "its result is not safe yet and Kling deletes it soon",
        "not_submitted": "Kling was asked for it, and took it not once; it is still tried",
        "task_found": "it ended without its task, which is there after all; the message says which job has it now",
        "account_stopped": "the account it waits for is stopped",
        "account_missing": "the account it waits for is not in the settings any more",
        "receiver_disabled": "a receiver was disabled; its events are kept",
    }
)

#: What may be subscribed to.
TYPES = MappingProxyType({told.type: told.meaning for told in (*STATES.values(), ATTENTION)})
_PATTERN = re.compile(r"(?:[a-z]+\.)*(?:[a-z]+|\*)")


def inner(state: State) -> str:
    """The timeline's name for a job that came to `state`."""
    return f"job.{state}"


_BY_INNER = {inner(state): told.type for state, told in STATES.items()}


def told_as(name: str) -> str:
    """The outer type of an event by its name in the timeline."""
    return _BY_INNER.get(name, name)


def patterns(kind: str) -> list[str]:
    """Every pattern that a subscription may have and that matches events of type `kind`."""
    return ["*", f"{kind.partition('.')[0]}.*", kind]


def inner_names(wanted: Iterable[str]) -> tuple[list[str], list[str]]:
    """The timeline's names of the events that a subscription to `wanted` hears.

    Two lists: those that it hears each time, and those of which it hears the first of a job only.
    """
    names = {**_BY_INNER, ATTENTION.type: ATTENTION.type}
    heard = {name for name, kind in names.items() if {*wanted} & {*patterns(kind)}}
    once = {inner(state) for state, told in STATES.items() if told is _SUBMITTED}
    return sorted(heard - once), sorted(heard & once)


def fault(pattern: str) -> str | None:
    """Why nobody can subscribe to `pattern`; None when one can."""
    if not _PATTERN.fullmatch(pattern):
        return "must be a type such as video.archived, a group such as video.*, or * for all"
    if not any(pattern in patterns(kind) for kind in TYPES):
        return f"names no event; there are {', '.join(TYPES)}"
    return None
