"""Requests that use results of earlier jobs: is each reference right, and what is the provider sent in its place?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from infra.log import logger
from infra.store_errors import StoreError
from worker.inputs import Inputs
from worker.jobs import references, retry
from worker.jobs.machine import Event
from worker.jobs.model import Job, ResultFile, State
from worker.jobs.references import SCHEME, BadReference
from worker.kling import catalog
from worker.kling.earlier import Named, named
from worker.kling.evaluate import Verdict, evaluate
from worker.kling.gateways import Account
from worker.kling.media import ID_KINDS, Place, id_unfit, kind_at
from worker.kling.strings import mapped
from worker.provider import BadRow, decode
from worker.store.chains import BAD_ENDS, After
from worker.store.moves import Moved
from worker.store.repository import Repository

log = logger(__name__)

#: How often a waiting job looks by itself whether it may begin. Mostly the end of an earlier job makes it due at once.
_LOOK = timedelta(minutes=10)
_LONGEST_REASON = 1000


def after(jobs: Mapping[str, Job], *, judged: bool) -> After:
    """The dependencies to store with a job. `judged`: whether the results must keep the provider's rules for inputs."""
    return After({name: job.id for name, job in jobs.items()}, 1 + max(job.depth for job in jobs.values()), judged)


@dataclass(frozen=True)
class Pipelines:
    """Checks references to earlier jobs, takes waiting jobs on, and puts the results in."""

    store: Repository
    inputs: Inputs
    accounts: Mapping[str, Account]
    edition: str | None

    # --- accepting ----------------------------------------------------------------------------------------------
    def found(self, caller: str, what: Named) -> dict[str, Job]:
        """The jobs that a request names. Raises `BadReference` for one that there isn't, or that has ended badly.

        Another caller's job is no job at all. A job that does not exist yet can't be named, so none can wait for
        itself, however many stand between.
        """
        jobs = {name: self.store.find(caller, name) for name in what.jobs}
        faults = [f"{what.fields(name)}: names no job of yours: {name!r}" for name, job in jobs.items() if job is None]
        there = {name: job for name, job in jobs.items() if job}
        faults += [
            f"{what.fields(name)}: job {name!r} ended as {job.state}, nothing can stand on it"
            for name, job in there.items()
            if job.state in BAD_ENDS
        ]
        if any(job.depth >= references.DEEPEST for job in there.values()):
            faults.append(f"{references.FIELD}: at most {references.DEEPEST} jobs may stand one on another")
        if faults:
            raise BadReference("; ".join(faults))
        return there

    def accounts_for(self, what: Named, jobs: Mapping[str, Job], asked: list[str], *, chosen: bool) -> list[str]:
        """The accounts that a request may go to, as only the account that made a result knows its id.

        A request that names no id may go to all that were `asked` for. `chosen`: whether the caller named them.
        Raises `BadReference` where no account is left.
        """
        makers = [jobs[part.name] for part in what.parts.values() if part.is_id]
        if not makers:
            return asked
        first, *others = (
            [job.account, *job.fallbacks.split(",")] if not job.submissions else [job.account] for job in makers
        )
        possible = [name for name in first if name in self.accounts and all(name in other for other in others)]
        allowed = [name for name in asked if name in possible] if chosen else possible
        if not allowed:
            where = f"only account {' or '.join(possible)} knows" if possible else "no one account knows"
            raise BadReference(f"account: {where} the ids that the request names")
        return allowed

    def faults(self, what: Named, jobs: Mapping[str, Job], verdict: Verdict, now: datetime) -> list[str]:
        """What is wrong with the references, as far as is known now; files are checked once they are there."""
        found = []
        for field, part in what.parts.items():
            job, wanted = jobs[part.name], kind_at(verdict.family, field) or ""
            made = catalog.FAMILIES[job.family].kind
            reason = references.unfit(part, wanted=wanted, made=made, outputs=job.slots)
            if reason is None and part.is_id:
                reason = id_unfit(verdict.family, job.family, job.model)
            if reason:
                found.append(f"{field}: job {part.name!r} {reason}")
        there = {name: job for name, job in jobs.items() if job.state is State.ARCHIVED}
        try:
            return found or self._results(what, there, verdict, now)[1]
        except StoreError:
            return []  # they are judged again before they are sent

    # --- waiting ------------------------------------------------------------------------------------------------
    def settle(self, job: Job, now: datetime) -> Moved | None:
        """Move a waiting job on once all it waits for has ended: to `accepted`, or to an end if one of them failed.

        None when it still has to wait, or another worker was faster.
        """
        earlier = self.store.chains.earlier(job.id)
        lost = next((one.job for one in earlier if one.job.state in BAD_ENDS), None)
        if lost:
            return self._lost(job, "earlier_job", _because(lost), now)
        if any(one.job.state is not State.ARCHIVED for one in earlier):
            self.store.chains.put_off(job.id, now + _LOOK)
            return None
        request = self.store.request(job.id)
        assert request is not None, "payloads of open jobs do not expire"
        try:
            body = decode(request)
        except BadRow as fault:
            return self._lost(job, "unreadable", str(fault), now)
        jobs = {one.name: one.job for one in earlier}
        what = named(job.family, body) or Named(job.family, (), {})
        try:
            values, faults = self._results(what, jobs, self._verdict(job, body) if earlier[0].judged else None, now)
        except StoreError as fault:
            log.warning("pipeline.again", job=job.id, reason=str(fault))
            self.store.postpone(job, retry.after(retry.BUCKET_AGAIN, 1, now, endless=True) or now)
            return None
        makers = {jobs[part.name].account for part in what.parts.values() if part.is_id}
        if len(makers) > 1:
            faults.append(
                f"account: no one account knows the ids that it names, they are of {', '.join(sorted(makers))}"
            )
        if faults:
            return self._lost(job, "inputs", "; ".join(faults), now)
        changes = {"account": makers.pop(), "fallbacks": ""} if makers else {}
        return self.store.move(job, Event.INPUTS_READY, now, changes=changes, note={"inputs": values or None})

    def _lost(self, job: Job, code: str, reason: str, now: datetime) -> Moved | None:
        log.info("pipeline.lost", job=job.id, reason=reason)
        changes = {"error_code": code, "error_message": reason[:_LONGEST_REASON]}
        return self.store.move(job, Event.INPUTS_LOST, now, changes=changes)

    def _verdict(self, job: Job, body: Mapping[str, Any]) -> Verdict | None:
        if job.account not in self.accounts:
            return None
        gateway = self.accounts[job.account].gateway
        return evaluate(job.family, references.without(body), gateway=gateway, edition=self.edition)

    def _results(
        self, what: Named, jobs: Mapping[str, Job], verdict: Verdict | None, now: datetime
    ) -> tuple[dict[str, str], list[str]]:
        """By field: the result of an archived job that a reference stands for; and all faults. Raises `StoreError`."""
        files = self.store.files([job.id for job in jobs.values()])
        values: dict[str, str] = {}
        faults = []
        for field, part in what.parts.items():
            if part.name in jobs:
                job = jobs[part.name]
                picked = references.pick(part, files[job.id], catalog.FAMILIES[job.family].kind)
                if picked is None:
                    faults.append(f"{field}: job {part.name!r} has no {part.path}")
                    continue
                value, file = picked
                values[field] = f"{job.id}: {value}"
                faults += self._judged(Place(field, value, kind_at(what.family, field) or ""), file, job, verdict, now)
        return values, faults

    def _judged(self, place: Place, file: ResultFile, job: Job, verdict: Verdict | None, now: datetime) -> list[str]:
        if place.kind not in ID_KINDS:
            return [fault.message for fault in self.inputs.faults_of_file(place, file, verdict)]
        reason = forgotten(job, now)
        return [f"{place.field}: job {job.id} {reason}"] if reason else []

    # --- submitting ---------------------------------------------------------------------------------------------
    def bound(self, job: Job, body: Mapping[str, Any]) -> dict[str, Any]:
        """The request as the provider gets it: without our own field, and with results in place of references."""
        plain = references.without(body)
        if not job.depth:
            return dict(plain)
        earlier = {one.name: one.job for one in self.store.chains.earlier(job.id)}
        files = self.store.files([one.id for one in earlier.values()])

        def result(text: str) -> str:
            if not text.startswith(SCHEME):
                return text
            part = references.parse(text)
            maker = earlier[part.name]
            picked = references.pick(part, files[maker.id], catalog.FAMILIES[maker.family].kind)
            assert picked is not None, "it was there when the job settled, and rows of files stay"
            value, file = picked
            return value if part.is_id else f"s3://{file.bucket}/{value}"

        return mapped(plain, result)


def forgotten(job: Job, now: datetime) -> str | None:
    """Why the provider no longer knows the ids of a job's results; None while it does."""
    if now - (job.submitted_at or job.created_at) < timedelta(days=retry.DELETED_DAYS):
        return None
    return f"is older than {retry.DELETED_DAYS} days, and its provider forgets ids then"


def _because(lost: Job) -> str:
    reason = f": {lost.error_message}" if lost.error_message else ""
    return f"job {lost.id}, which it stands on, ended as {lost.state}{reason}"
