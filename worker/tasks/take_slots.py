"""Take the slots that a job needs while its provider works on it, at the first of its accounts that has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from infra.log import logger
from worker import messages
from worker.jobs import retry, slots
from worker.jobs.machine import Event, Step
from worker.jobs.model import Job
from worker.ports import Queue
from worker.provider import Provider
from worker.store.accounts import Accounts
from worker.store.moves import Also, Moved
from worker.store.repository import Repository
from worker.store.turns import NotAdmitted

log = logger(__name__)

#: Seconds until a job that waits for slots asks by itself. It has no need to: it is woken, and every sweep looks, with
#: one question for each pack, whom nobody woke. To ask costs each of those who wait a message and some milliseconds.
WAIT_SECONDS = 86400
#: Seconds after the call's own limit until a create whose worker vanished is looked up.
_VANISHED_SECONDS = 5


def take_slots(
    job: Job, *, store: Repository, accounts: Accounts, provider: Provider, queue: Queue, now: datetime
) -> Moved | None:
    """Say in the row that a create may leave, to the account whose slots the job has now.

    None when no account has any for it, or somebody else was faster: then the job waits as a row.
    """
    # Once a create may have left to an account, only that account can say what became of it.
    names = [job.account, *filter(None, job.fallbacks.split(",") if not job.submissions else ())]
    configured = {name: most for name in names if (most := provider.concurrency(name)) is not None}
    for name, most in configured.items():
        try:
            return store.move(
                job,
                Event.SUBMIT_BEGUN,
                now,
                due_at=now + timedelta(seconds=provider.seconds + _VANISHED_SECONDS),
                changes={"submissions": job.submissions + 1, "lookups": 0, **_at(job, name, names)},
                also=Also(request=True),
                gate=lambda connection, name=name, most=most: accounts.admit(connection, job, name, most, now),  # type: ignore[misc]  # mypy can't infer a lambda with defaults
            )
        except NotAdmitted as reason:
            log.info("submit.waits", job=job.id, account=name, reason=str(reason))
    if not configured:
        log.error("account.missing", job=job.id, accounts=names)
    for name in names:
        if name not in configured:
            accounts.expect(slots.pack(name, job.family))
    waits = now + timedelta(seconds=retry.vary(WAIT_SECONDS))
    if store.postpone(job, waits, queued=True, lookups=0):
        # What came free while it was refused, or is for others who come first.
        packs = {slots.pack(name, job.family): most for name, most in configured.items()}
        woken = [other for pack, most in packs.items() for other in accounts.wake(pack, now, most)]
        messages.send(queue, (messages.for_step(Step.SUBMIT, other) for other in woken))
    return None


def _at(job: Job, name: str, names: list[str]) -> Mapping[str, str]:
    """Where it goes; should that one refuse it, the others are asked again, and in the end the first."""
    place = names.index(name)
    others = ",".join(names[place + 1 :] + names[:place])
    return {"account": name} if job.submissions else {"account": name, "fallbacks": others}
