"""Jobs as rows: read, moved by compare-and-set, claimed when due.

Each method is one transaction. A method that moves a job returns None when somebody else moved it first: whoever
did so has also said what is to be done next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, and_, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from infra.db import single
from worker.jobs.machine import DUE_STEP, Event, Step, move
from worker.jobs.model import ENDS, Job, ResultFile, State
from worker.store import missing, statements
from worker.store.adoptions import Adoptions
from worker.store.beginnings import HEARD, ONE_BEGINNING, STEP
from worker.store.buckets import Buckets
from worker.store.chains import After, Chains, join
from worker.store.manifests import Manifests
from worker.store.moves import NOTHING, Also, Moved, Taking, note_of
from worker.store.rows import JOB_COLUMNS, job_of
from worker.store.statements import new
from worker.store.tables import events, files, jobs
from worker.store.telling import addressed, noted
from worker.store.transfers import Transfers


@dataclass(frozen=True)
class NewJob:
    """What the door knows of a job that it accepts."""

    id: str
    caller: str
    account: str
    family: str
    external_task_id: str | None
    callback_url: str | None
    fingerprint: bytes
    request: bytes
    on_done: str | None = None
    idempotency_key: str | None = None
    bucket: str = ""
    prefix: str = ""
    fallbacks: str = ""
    slots: int = 1
    expected_units: str | None = None
    list_price: str | None = None
    model: str | None = None
    after: After | None = None


class Accepted(NamedTuple):
    """What became of a request."""

    job: Job
    fingerprint: bytes  #: of the request that it was made from
    is_new: bool
    deliveries: tuple[str, ...] = ()  #: what can be told at once


class MaybeStored(Exception):
    """The database was lost as it stored a job, and nobody can say whether it did."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"whether job {job_id} was stored is not known")
        self.job_id = job_id


@dataclass(frozen=True)
class Due:
    """A job that wants attention, and the step that gives it."""

    job_id: str
    step: Step


class Repository:
    """The rows of jobs, through one engine."""

    def __init__(self, engine: Engine, hear: Callable[[datetime], None] = lambda _: None) -> None:
        """`hear` is told what the time is at the database where a step begins, a job moves, or it is asked."""
        self._engine = engine
        self._hear = hear
        self._single = single(engine)
        #: The files that are under way.
        self.transfers = Transfers(engine)
        #: Buckets that take nothing just now.
        self.buckets = Buckets(engine)
        #: Jobs that ended without one.
        self.manifests = Manifests(engine)
        #: Jobs that have the tasks of others.
        self.adoptions = Adoptions(engine)
        #: Which jobs stand on which.
        self.chains = Chains(engine)

    # --- accepting ----------------------------------------------------------------------------------------------
    def accept(self, new: NewJob, now: datetime) -> Accepted:
        """Store a job, due at once. With an external id that the caller used before: the job that has it.

        A connection that is lost leaves open what became of the statement. The id is ours, so it can be sent once more:
        it waits for the first one, should that be under way still, and finds its row. Raises `EarlierEnded` and, where
        that is lost too, `MaybeStored`.
        """
        try:
            return self._accept(new, now)
        except DBAPIError as fault:
            if not fault.connection_invalidated:
                raise
        try:
            return self._accept(new, now, again=True)
        except (DBAPIError, PoolTimeout) as fault:
            raise MaybeStored(new.id) from fault

    def _accept(self, new: NewJob, now: datetime, *, again: bool = False) -> Accepted:
        state = State.WAITING if new.after else State.ACCEPTED
        after = dict(new.after.ids) if new.after else None
        note = note_of(state, {"family": new.family, "after": after})
        values = {
            **{f"new_{name}": value for name, value in vars(new).items() if name != "after"},
            "new_state": state,
            "new_depth": new.after.depth if new.after else 0,
            **noted(note, now),
            **addressed(new.caller, note.type),
        }
        if new.after:
            with self._engine.begin() as connection:
                row = statements.ACCEPT(connection, **values).fetchone()
                if row is not None:
                    join(connection, new.id, new.after)
        else:
            row = statements.ACCEPT.alone(self._engine, **values).fetchone()
        if row is not None:
            return Accepted(job_of(row), new.fingerprint, True, tuple(row.told))
        if again and (own := self.get(new.id)):
            return Accepted(own, new.fingerprint, True)
        older = self.known(new.caller, new.external_task_id, new.idempotency_key)
        assert older is not None, "the conflict was with a job of the same caller"
        return Accepted(*older, False)

    # --- reading ------------------------------------------------------------------------------------------------
    def get(self, job_id: str) -> Job | None:
        """The job with this id."""
        row = statements.JOB.alone(self._engine, job=job_id).fetchone()
        return job_of(row) if row else None

    def known(self, caller: str, external_task_id: str | None, idempotency_key: str | None) -> tuple[Job, bytes] | None:
        """The job that a caller has of either name already, and the fingerprint of its request."""
        if external_task_id is None and idempotency_key is None:
            return None
        with self._single.begin() as connection:
            row = connection.execute(_same(caller, external_task_id, idempotency_key)).first()
        return (job_of(row), row.fingerprint) if row else None

    def find(self, caller: str, name: str, family: str | None = None) -> Job | None:
        """A caller's job by our id or by the caller's own."""
        wanted = and_(jobs.c.caller == caller, or_(jobs.c.id == name, jobs.c.external_task_id == name))
        if family is not None:
            wanted = and_(wanted, jobs.c.family == family)
        # Somebody may have used one of our ids as an external one: ours wins.
        query = select(*JOB_COLUMNS).where(wanted).order_by((jobs.c.id == name).desc()).limit(1)
        with self._single.begin() as connection:
            row = connection.execute(query).one_or_none()
        return job_of(row) if row else None

    def page(self, caller: str, family: str, *, limit: int, offset: int) -> list[Job]:
        """A page of a caller's jobs of one family, newest first."""
        query = (
            select(*JOB_COLUMNS)
            .where(jobs.c.caller == caller, jobs.c.family == family)
            .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
            .limit(limit)
            .offset(offset)
        )
        with self._single.begin() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def request(self, job_id: str) -> bytes | None:
        """The request as it came; None once it has expired."""
        return self._payload(job_id, "request")

    def answer(self, job_id: str) -> bytes | None:
        """What the provider last said of the task."""
        return self._payload(job_id, "answer")

    def files(self, job_ids: Sequence[str]) -> dict[str, list[ResultFile]]:
        """The proven files of jobs, by job."""
        found: dict[str, list[ResultFile]] = {job_id: [] for job_id in job_ids}
        for job_id, *values in statements.FILES.alone(self._engine, jobs=list(job_ids)):
            found[job_id].append(ResultFile(*values))
        return found

    def stored_at(self, job_id: str) -> dict[str, datetime]:
        """When each file of a job was proven, by its key."""
        query = select(files.c.key, files.c.stored_at).where(files.c.job_id == job_id)
        with self._single.begin() as connection:
            return {row.key: row.stored_at for row in connection.execute(query)}

    def archived(self, since: datetime | None = None) -> list[str]:
        """Ids of the jobs that were archived, or have a manifest of what there is, since then or ever, oldest first."""
        held = or_(jobs.c.state == State.ARCHIVED, jobs.c.manifest_key.is_not(None))
        query = select(jobs.c.id).where(held).order_by(jobs.c.updated_at)
        if since:
            query = query.where(jobs.c.updated_at >= since)
        with self._single.begin() as connection:
            return list(connection.execute(query).scalars())

    def places(self) -> list[tuple[str, str]]:
        """Bucket and prefix of every place that files of a job were sent to, but for the root of our own bucket."""
        place = jobs.c.bucket, jobs.c.prefix
        elsewhere = (jobs.c.bucket != "") | (jobs.c.prefix != "")
        with self._single.begin() as connection:
            rows = connection.execute(select(*place).where(elsewhere).distinct().order_by(*place))
            return [(row.bucket, row.prefix) for row in rows]

    def timeline(self, job_id: str) -> list[dict[str, Any]]:
        """What happened to a job, in order."""
        query = select(events.c.sequence, events.c.type, events.c.at, events.c.data)
        with self._single.begin() as connection:
            rows = connection.execute(query.where(events.c.job_id == job_id).order_by(events.c.sequence)).mappings()
            return [dict(row) for row in rows]

    def _payload(self, job_id: str, name: str) -> bytes | None:
        row = statements.PAYLOAD[name].alone(self._engine, job=job_id).fetchone()
        return row[0] if row else None

    # --- moving -------------------------------------------------------------------------------------------------
    def move(
        self,
        job: Job,
        event: Event,
        now: datetime,
        *,
        due_at: datetime | None = None,
        changes: Mapping[str, Any] | None = None,
        note: Mapping[str, Any] | None = None,
        gate: Callable[[Connection], None] | None = None,
        also: Also = NOTHING,
    ) -> Moved | None:
        """Take `job`, as it was read, where `event` leads; None when the event changes nothing or somebody was faster.

        The state, the timeline and what is to be told change together. `due_at` is when it wants attention next, at
        once if not said; what made it due sooner since it was read stands. An end wants none. `gate` is asked first,
        in the same transaction: what it raises ends it. `also`: what else is written, and read.
        """
        led = move(job.state, event)
        if led is None:
            return None
        values = _storable(changes or {})
        about = {word: values.get(f"error_{word}", getattr(job, f"error_{word}")) for word in ("code", "message")}
        entry = note_of(led.state, {"event": event, **about, **(note or {})})
        due_at = now + also.lease.length if also.lease else due_at or now
        taking = Taking(job, led, now, None if led.state in ENDS else due_at, values, entry, also)
        moved = taking.by(self._engine, gate)
        if moved and moved.told_at:
            self._hear(moved.told_at)
        return moved

    def postpone(self, job: Job, due_at: datetime, **changes: Any) -> bool:
        """Say when `job` wants attention next, without moving it; sooner, if a callback or a freed slot said so.

        False when somebody moved it meanwhile.
        """
        values = {**HEARD, **_storable(changes)}
        read = {"job": job.id, "read_version": job.version, "read_due_at": job.due_at}
        changed = statements.changed(*values)
        return changed.alone(self._engine, **read, new_due_at=due_at, **new(values)).rowcount == 1

    def begin(self, job_id: str, step: Step, now: datetime) -> Job | None:
        """The job, if it wants `step`, after writing down that it was begun; every other word of it takes that back."""
        times = {"now": now, "soon": now - ONE_BEGINNING, "until": now + STEP}
        row = statements.BEGIN[step].alone(self._engine, job=job_id, **times).fetchone()
        if row is None:
            return None
        self._hear(row.told_at)
        return job_of(row)

    def ask_time(self) -> None:
        """Hear what the time is at the database, where many rows are held to it before any says it."""
        row = statements.TIME.alone(self._engine).fetchone()
        self._hear(row.told_at)

    def unbegin(self, job_id: str) -> None:
        """Take a beginning back that ended in trouble of the database's, not in a death."""
        statements.UNBEGIN.alone(self._engine, job=job_id)

    def claim_due(
        self, now: datetime, *, lease: timedelta, limit: int, states: Collection[State] = DUE_STEP.keys()
    ) -> list[Due]:
        """Jobs that want attention, each for one sweep only: due again after `lease` unless work moves that."""
        which = {"states": list(states), "limit": limit}
        rows = statements.CLAIM_DUE.alone(self._engine, now=now, until=now + lease, **which)
        steps = ((row.id, DUE_STEP.get(State(row.state))) for row in rows)
        return [Due(job_id, step) for job_id, step in steps if step]

    def missing_since(self, job: Job, now: datetime) -> datetime:
        """Since when the provider says that it has no such task, of which it says so `now`: the timeline remembers."""
        with self._engine.begin() as connection:
            return missing.since(connection, job, now)

    def absences(self, job: Job) -> tuple[int, datetime | None]:
        """How many creates of `job` were proven to have made no task, and when the first one was."""
        with self._engine.begin() as connection:
            return missing.absences(connection, job)

    # --- copying ------------------------------------------------------------------------------------------------
    def lease(self, job_id: str, owner: str, now: datetime, length: timedelta) -> Job | None:
        """The job, if it is being copied and nobody else holds it; it is `owner`'s for `length`."""
        times = {"now": now, "soon": now - ONE_BEGINNING, "until": now + length}
        row = statements.LEASE.alone(self._engine, job=job_id, owner=owner, **times).fetchone()
        if row is None:
            return None
        self._hear(row.told_at)
        return job_of(row)

    def progress(
        self, job_id: str, owner: str, now: datetime, length: timedelta, *, copied: int, total: int | None
    ) -> bool:
        """Renew a lease and say how far the copy is, in bytes. False when the lease was lost: stop at once."""
        values = {"until": now + length, "new_bytes_copied": copied, "new_bytes_total": total}
        return statements.PROGRESS.alone(self._engine, job=job_id, owner=owner, **values).rowcount == 1

    def renew(self, job_id: str, owner: str, now: datetime, length: timedelta) -> bool:
        """Have a lease last so long at least. False when it was lost: stop at once."""
        return statements.RENEW.alone(self._engine, job=job_id, owner=owner, until=now + length).rowcount == 1

    def put_off(
        self, job_id: str, owner: str, due_at: datetime, *, until: datetime | None = None, **changes: Any
    ) -> None:
        """Give a lease back; the copy goes on at `due_at`. `until` then nobody may have it, if that is said."""
        with self._single.begin() as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.lease_owner == owner)
                .values(lease_owner=None, lease_until=until, due_at=max(due_at, until or due_at), **HEARD, **changes)
            )

    def add_file(
        self, job_id: str, owner: str, file: ResultFile, now: datetime, length: timedelta, *, copied: int
    ) -> bool:
        """Record a proven file, which is under way no longer, and renew the lease. Recording it again changes nothing.

        `copied`: bytes of all files so far. False when the lease was lost: nothing is recorded.
        """
        values = {"until": now + length, "new_bytes_copied": copied, "new_bytes_total": copied, **new(asdict(file))}
        row = statements.ADD_FILE.alone(self._engine, job=job_id, owner=owner, now=now, **values).fetchone()
        return row is not None

    def set_answer(self, job_id: str, answer: bytes) -> None:
        """Keep what the provider last said of the task."""
        statements.ANSWER.alone(self._engine, job=job_id, new_answer=answer)


def _same(caller: str, external_task_id: str | None, idempotency_key: str | None) -> Select[tuple[Any, ...]]:
    """The caller's job of either name; first that of the key, which is asked for again with just what it came with."""
    names = ((jobs.c.external_task_id, external_task_id), (jobs.c.idempotency_key, idempotency_key))
    either = or_(*(column == value for column, value in names if value is not None))
    same = select(*JOB_COLUMNS, jobs.c.fingerprint).where(jobs.c.caller == caller, either)
    return same.order_by((jobs.c.idempotency_key == idempotency_key).desc().nulls_last())


def _storable(values: Mapping[str, Any]) -> dict[str, Any]:
    """PostgreSQL's text holds neither NUL nor half a surrogate pair; a provider's message may."""
    return {
        name: value.replace("\0", "").encode(errors="replace").decode() if isinstance(value, str) else value
        for name, value in values.items()
    }
