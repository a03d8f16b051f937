"""Accept a request as a job, or refuse it in Kling's own terms: the same whether it came over HTTP or by a message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

from ulid import ULID

from infra.guard import Guard
from infra.log import logger
from infra.urls import fault_of
from worker import messages
from worker.inputs import Inputs
from worker.jobs.access import BadPlace, Caller, NotAllowed
from worker.jobs.machine import Step
from worker.jobs.model import Job
from worker.jobs.references import BadReference, without
from worker.kling import catalog
from worker.kling.earlier import named
from worker.kling.evaluate import Verdict, evaluate
from worker.kling.gateways import Account
from worker.kling.strings import strings
from worker.pipelines import Pipelines, after
from worker.ports import Clock
from worker.store.chains import EarlierEnded
from worker.store.repository import NewJob, Repository

log = logger(__name__)

#: The name of KLING_URL's account.
DEFAULT_ACCOUNT = "default"
#: How a request may be checked: as Kling would, with what is merely tolerated refused too, or sent as it is.
CHECKS = ("lenient", "strict", "off")
#: Kling documents neither length nor alphabet of external ids; these hold every id in its samples.
_LONGEST_ID = 255
_STORED = "s3://"
_PUBLIC = "must be an https:// URL of a public host"
_MORE = "the settings GUARD_ALLOW_CIDRS and GUARD_PORTS allow others"
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Refused(Exception):
    """A request that is not accepted, as Kling would say it. Nothing was stored."""

    def __init__(self, message: str, *, http_status: int = 400, code: int = 1201) -> None:
        super().__init__(message)
        self.message = message
        self.http_status = http_status
        self.code = code


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    who: Caller  #: on whose behalf
    family: str  #: path below /v1, a known one
    body: Mapping[str, Any]
    raw: bytes  #: the same, as JSON text
    account: str = DEFAULT_ACCOUNT  #: or several, in order, separated by commas
    idempotency_key: str | None = None
    check: str = "lenient"
    on_done: str | None = None  #: a receiver beside the body's callback_url
    bucket: str | None = None  #: that its files shall go to; None: the key's first, or the deployment's own
    prefix: str | None = None  #: where in the bucket its files shall go; None: where the key's own go

    @property
    def caller(self) -> str:
        """The key's name."""
        return self.who.name

    @cached_property
    def fingerprint(self) -> bytes:
        """What tells this request from another one under the same id."""
        parts: list[Any] = [self.account, self.family, self.body]
        if self.prefix is not None:
            parts.append(self.prefix)
        if self.bucket is not None:
            parts.append({"bucket": self.bucket})
        return sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).digest()


@dataclass(frozen=True)
class Acceptor:
    """What accepting needs."""

    store: Repository
    accounts: Mapping[str, Account]
    inputs: Inputs
    edition: str | None  #: None: the newest, or the gateway's own
    clock: Clock
    bucket: str  #: the deployment's own, of keys that have no other
    guard: Guard  #: of receivers

    def accept(self, asked: Asked) -> tuple[Job, list[messages.Message | None]]:
        """The job for a request, and what it wants sent: nothing unless it is new. Raises `Refused` with every fault.

        A request that comes again is the job that it was, whatever has become of what it names: nothing is looked at.
        """
        older = self.store.known(asked.caller, _external_id(asked.body), asked.idempotency_key)
        if older:
            return _same(asked, *older), []
        names = [name.strip() for name in asked.account.split(",")]
        if unknown := [name for name in names if name not in self.accounts]:
            raise Refused(f"the account must be one of {', '.join(self.accounts)}, found {unknown[0][:40]!r}")
        if asked.check not in CHECKS:
            raise Refused(f"the check must be one of {', '.join(CHECKS)}, found {asked.check[:40]!r}")
        try:
            bucket, prefix = self._where(asked)
            may_read(asked.who, asked.body, self.bucket)
            new, verdict = self._new(asked, names)
            accepted = self.store.accept(replace(new, bucket=bucket, prefix=prefix), self.clock())
        except NotAllowed as fault:
            raise Refused(str(fault), http_status=403, code=1103) from None
        except (BadReference, EarlierEnded) as fault:
            raise Refused(str(fault)) from None
        job = _same(asked, accepted.job, accepted.fingerprint)
        if not accepted.is_new:
            return job, []
        warnings = [one.rule for one in verdict.warnings]
        log.info("job.accepted", job=job.id, family=job.family, account=job.account, warnings=warnings)
        return job, messages.after(job.id, Step.SUBMIT, accepted.deliveries, ())

    def _where(self, asked: Asked) -> tuple[str, str]:
        """Bucket and prefix of where the files of a request go. Raises `Refused`."""
        with _said("Bucket"):
            bucket = asked.who.bucket(asked.bucket, self.bucket)
        with _said("Prefix"):
            return bucket, asked.who.place(asked.prefix)

    def _new(self, asked: Asked, names: list[str]) -> tuple[NewJob, Verdict]:
        """The job as it would be stored, and what the rules say of it."""
        what = named(asked.family, asked.body)
        external = _external_id(asked.body)
        if what is None:
            verdict = self._suits(asked, names)
            return self._new_job(asked, names, verdict, external), verdict
        pipelines = Pipelines(self.store, self.inputs, self.accounts, self.edition)
        jobs = pipelines.found(asked.caller, what)
        names = pipelines.accounts_for(what, jobs, names, chosen=asked.account != DEFAULT_ACCOUNT)
        verdict = self._suits(asked, names)
        judged = asked.check != "off"
        if judged and (faults := pipelines.faults(what, jobs, verdict, self.clock())):
            raise Refused("; ".join(faults))
        return replace(self._new_job(asked, names, verdict, external), after=after(jobs, judged=judged)), verdict

    def _suits(self, asked: Asked, names: list[str]) -> Verdict:
        """The first account's verdict. A request that may go to several accounts has to suit each of them."""
        return [self._checked(asked, name) for name in reversed(names)][-1]

    def _checked(self, asked: Asked, account: str) -> Verdict:
        gateway = self.accounts[account].gateway
        strict = asked.check == "strict"
        verdict = evaluate(asked.family, without(asked.body), gateway=gateway, edition=self.edition, strict=strict)
        if asked.check == "off":
            return verdict
        faults = verdict.faults or self.inputs.faults(asked.family, verdict.request, edition=verdict.edition)
        if faults:
            message = "; ".join(fault.message for fault in faults)
            raise Refused(message, http_status=verdict.http_status, code=verdict.code)
        return verdict

    def _new_job(self, asked: Asked, accounts: list[str], verdict: Verdict, external: str | None) -> NewJob:
        cost = verdict.cost
        return NewJob(
            id=str(ULID()).lower(),
            caller=asked.caller,
            account=accounts[0],
            fallbacks=",".join(accounts[1:]),
            slots=catalog.slots(asked.family, asked.body),
            idempotency_key=asked.idempotency_key,
            family=asked.family,
            model=catalog.model(asked.family, asked.body),
            external_task_id=external,
            callback_url=self._callback_url(asked.body),
            on_done=asked.on_done,
            fingerprint=asked.fingerprint,
            request=asked.raw,
            expected_units=None if cost.units is None else str(cost.units),
            list_price=None if cost.usd is None else str(cost.usd),
        )

    def _callback_url(self, body: Mapping[str, Any]) -> str | None:
        """The receiver that a request names. Raises `Refused` where it is known already that it will never be told."""
        url = _text(body, "callback_url")
        if url is None:
            return None
        if fault := fault_of(url):
            raise Refused(f"callback_url {fault}, or be left out")
        if refusal := self.guard.refusal_unasked(url):
            raise Refused(f"callback_url {_PUBLIC} ({refusal}; {_MORE}), or be left out")
        return url


@contextmanager
def _said(name: str) -> Iterator[None]:
    """Name what says where the files shall go: a header, or a field of a message."""
    said = f"header Reelhook-{name} ({name.lower()!r} in a message)"
    try:
        yield
    except NotAllowed as fault:
        raise Refused(f"{said}: {fault}", http_status=403, code=1103) from None
    except BadPlace as fault:
        raise Refused(f"{said}: {fault}") from None


def may_read(who: Caller, body: Mapping[str, Any], own: str) -> None:
    """Raises `NotAllowed` where a request names an object that its key may not read. `own`: the deployment's bucket."""
    for field, text in strings(body):
        if text.startswith(_STORED):
            try:
                who.reads(text.removeprefix(_STORED), own)
            except NotAllowed as fault:
                raise NotAllowed(f"{field}: {fault}") from None


def _same(asked: Asked, job: Job, fingerprint: bytes) -> Job:
    """`job`, if it was made from the same request. Raises `Refused`."""
    if fingerprint == asked.fingerprint:
        return job
    external = _external_id(asked.body)
    if external and job.external_task_id == external:
        raise Refused(f"external_task_id {external!r} was used before with another request; it must be unique")
    raise Refused("the Idempotency-Key was used before with another request", http_status=422)


def _external_id(body: Mapping[str, Any]) -> str | None:
    external = _text(body, "external_task_id")
    if external is not None and len(external) > _LONGEST_ID:
        raise Refused(f"external_task_id must be at most {_LONGEST_ID} characters long")
    return external


def _text(body: Mapping[str, Any], name: str) -> str | None:
    """A string that a row can hold; None where it is absent or empty, which Kling takes for absent."""
    value = body.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or _CONTROL.search(value):
        raise Refused(f"{name} must be a string without control characters")
    return value
