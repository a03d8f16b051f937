"""What travels on the queue: names, queues and arguments. The names are a public contract, hence the version in them.

A message carries ids only. Every task reads its row anew, so a message may come late, twice, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import NamedTuple

from worker.jobs.machine import Step
from worker.ports import Queue


class Message(NamedTuple):
    """A task to be run."""

    task: str
    queue: str
    args: tuple[str, ...] = ()


#: From other apps: keyword arguments as `worker.tasks.request.Order` says. The queue is `submit`.
REQUEST = "reelhook.submit.v1"

SUBMIT = "reelhook.job.submit.v1"  #: (job id)
FOLLOW_UP = "reelhook.job.follow_up.v1"  #: (job id)
ARCHIVE = "reelhook.job.archive.v1"  #: (job id)
ANNOUNCE = "reelhook.delivery.announce.v1"  #: (delivery id)
SWEEP = "reelhook.sweep.v1"  #: no arguments
ATTEND = "reelhook.attend.v1"  #: no arguments
EXPIRE = "reelhook.expire.v1"  #: no arguments

#: Each kind of work has its own queue, so that a platform can give it its own processes.
QUEUES = ("submit", "follow_up", "archive", "announce", "sweep")

_STEPS = {Step.SUBMIT: SUBMIT, Step.FOLLOW_UP: FOLLOW_UP, Step.ARCHIVE: ARCHIVE}
#: Where the tasks about one job or delivery go.
QUEUE_OF = MappingProxyType({SUBMIT: "submit", FOLLOW_UP: "follow_up", ARCHIVE: "archive", ANNOUNCE: "announce"})


def for_step(step: Step, job_id: str) -> Message | None:
    """The message that makes a job take `step`; announcing is by delivery, see `for_delivery`."""
    task = _STEPS.get(step)
    return Message(task, QUEUE_OF[task], (job_id,)) if task else None


def for_delivery(delivery_id: str) -> Message:
    """The message that makes an attempt at a delivery."""
    return Message(ANNOUNCE, QUEUE_OF[ANNOUNCE], (delivery_id,))


def send(queue: Queue, messages: Iterable[Message | None]) -> int:
    """Hand messages to the broker; how many it took. What it did not take is found by the sweep."""
    return sum(queue.send(message.task, message.queue, message.args) for message in messages if message)


def after(job_id: str, step: Step | None, deliveries: Iterable[str], woken: Iterable[str]) -> list[Message | None]:
    """What a job that was moved wants sent, and the jobs that waited for its slots."""
    mine = for_step(step, job_id) if step else None
    return [mine, *map(for_delivery, deliveries), *(for_step(Step.SUBMIT, other) for other in woken)]
