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

#: Seconds until a job that waits for slots asks again by itself. So rarely, because it is woken by whoever frees slots,
#: or by the next sweep, which asks one question for all; to ask by itself costs a message and some milliseconds.
WAIT_SECONDS = 86400
#: Seconds after the call's own limit until a create whose worker vanished is looked up.
_VANISHED_SECONDS = 5


def take_slots(
    job: Job, *, store: Repository, accounts: Accounts, provider: Provider, queue: Queue, now: datetime
) -> Moved | None:
    """Give the job slots of the first of its accounts that has them free, and write down that its create may be sent.

    None when no account has enough (the job then waits as a row), or another worker was faster.
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
    """The columns that name the account; the others stay as fallbacks, in turn, should this one refuse the job."""
    place = names.index(name)
    others = ",".join(names[place + 1 :] + names[:place])
    return {"account": name} if job.submissions else {"account": name, "fallbacks": others}
