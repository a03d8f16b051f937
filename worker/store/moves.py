"""Moves a job from one state to another in one SQL statement: row, timeline, deliveries and freed slots.

All of that is written or nothing is: where another process moved the job first, its row has another version, the
statement finds none, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, DateTime, Engine, bindparam
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from infra.statement import Statement, of_parts
from worker.jobs import slots
from worker.jobs.events import ATTENTION, REASONS, STATES, inner
from worker.jobs.machine import Move, Step
from worker.jobs.model import ENDS, Job, State
from worker.store.accounts import LEARNED
from worker.store.adoptions import recall
from worker.store.beginnings import HEARD
from worker.store.chains import wake_later
from worker.store.inbox import ENDED
from worker.store.rows import JOB_COLUMNS, job_of
from worker.store.statements import new
from worker.store.telling import Note, addressed, noted, tell, written
from worker.store.turns import HOLDING, WAITED, of, wake

_MOVED = """
    update jobs set {sets}, due_at = case when due_at < :read_due_at then due_at else :new_due_at end
    where id = :job and version = :read_version and (cast(:holder as text) is null or lease_owner = :holder)
    returning {columns}
"""
_ANSWERED = "update payloads set answer = :new_answer from moved where job_id = moved.id"
#: What led to the end of a task: a callback that said so, in the words of providers, or a poll because none came.
_FOUND_BY = f"""jsonb_build_object('found_by', case when exists (
        select 1 from callbacks where job_id = :job and {ENDED}
    ) then 'callback' else 'poll' end)"""  # noqa: S608 - a condition of ours
_REQUEST = "(select request from payloads where job_id = moved.id)"
#: How often in a row another process may write to the timeline in the very moment in which a job moves.
_SAME_MOMENT = 5


class Lease(NamedTuple):
    """Who has a job to himself once it has moved, and for how long."""

    owner: str
    length: timedelta


class Learned(NamedTuple):
    """How long a task took."""

    kind: str
    seconds: float


class Also(NamedTuple):
    """What a move writes and reads beside the row, the timeline and the deliveries."""

    answer: bytes | None = None  #: what the provider said of the task
    found: bool = False  #: whether the timeline shall say what led to the end of the task
    learned: Learned | None = None
    lease: Lease | None = None  #: a step is begun with the move
    request: bool = False  #: whether the request is wanted
    holder: str | None = None  #: who must have the lease of it still, where one was needed to find out what led on


NOTHING = Also()


@dataclass(frozen=True)
class Moved:
    """A job after an event took it somewhere, what it wants next, and what is to be told."""

    job: Job
    step: Step | None
    deliveries: tuple[str, ...] = ()
    woken: tuple[str, ...] = ()  #: jobs that waited for the slots it gave back, or for its end
    request: bytes | None = None  #: where it was wanted
    told_at: datetime | None = None  #: what the time was at the database


@dataclass(frozen=True)
class Taking:
    """A job, as it was read, on its way to where an event led it."""

    job: Job
    led: Move
    now: datetime
    due_at: datetime | None  #: None for an end
    changes: Mapping[str, Any]
    note: Note
    also: Also = NOTHING

    @property
    def ends(self) -> bool:
        """Whether the move leads to an end."""
        return self.led.state in ENDS

    def by(self, engine: Engine, gate: Callable[[Connection], None] | None) -> Moved | None:
        """Make the move; None when another process was faster. A transaction is needed for several statements only.

        The entry in the timeline gets the next number of its job. Whoever writes there without moving the job may take
        that number in the same moment: then nothing was changed, and the move is tried once more.
        """
        for left in reversed(range(_SAME_MOMENT)):
            try:
                return self._alone(engine) if gate is None and self._is_one else self._together(engine, gate)
            except IntegrityError:
                if not left:
                    raise
        raise AssertionError

    @property
    def _is_one(self) -> bool:
        """Whether it is one statement, as nearly always."""
        return self.led.state is not State.UNKNOWN and not (self.ends and self.job.awaited)

    def _alone(self, engine: Engine) -> Moved | None:
        row = self._statement.alone(engine, **self._values).fetchone()
        moved = self._moved(row, self._woken(engine, row))
        if moved and self.ends and moved.job.awaited:  # since it was read; who waits looks again by himself, but late
            with engine.begin() as connection:
                return replace(moved, woken=moved.woken + wake_later(connection, moved.job, self.now))
        return moved

    def _together(self, engine: Engine, gate: Callable[[Connection], None] | None) -> Moved | None:
        with engine.begin() as connection:
            if gate:
                gate(connection)
            row = self._statement(connection, **self._values).fetchone()
            moved = self._moved(row)
            if moved and self.ends:
                moved = replace(moved, woken=moved.woken + wake_later(connection, moved.job, self.now))
            if moved and self.led.state is State.UNKNOWN:
                reason = {"reason": "unknown", "message": REASONS["unknown"]}
                told = tell(connection, moved.job, Note(ATTENTION.type, reason), self.now)
                recall(connection, moved.job.id)
                moved = replace(moved, deliveries=moved.deliveries + told)
        return replace(moved, woken=moved.woken + self._woken(engine, row)) if moved else None

    def _moved(self, row: Any, woken: tuple[str, ...] = ()) -> Moved | None:
        return Moved(job_of(row), self.led.step, tuple(row.told), woken, row.request, row.told_at) if row else None

    def _woken(self, engine: Engine, row: Any) -> tuple[str, ...]:
        """Make the jobs due that may have the slots it gave back; their ids. Asked only after the move was written."""
        return wake(engine, slots.pack(self.job.account, self.job.family), self.now) if row and row.waited else ()

    @property
    def _statement(self) -> Statement:
        also = self.also
        answered, learned = also.answer is not None, also.learned is not None
        return _statement(
            tuple(self._columns), _Parts(answered, self._is_told, also.found, self._frees, learned, also.request)
        )

    @property
    def _is_told(self) -> bool:
        """Whether receivers hear of the move. They don't when a job goes back to `accepted` to be submitted again."""
        return self.led.state in STATES and self.led.state is not State.ACCEPTED

    @property
    def _frees(self) -> bool:
        """Whether others may have its slots, or its turn for them."""
        return self.job.state in {*HOLDING, State.ACCEPTED} and self.led.state not in HOLDING

    @property
    def _columns(self) -> dict[str, Any]:
        lease = self.also.lease
        held = {"lease_owner": lease.owner, "lease_until": self.now + lease.length} if lease else _NOBODY
        begun = {"begun": 1, "begun_at": self.now} if lease else HEARD
        moved = {"state": self.led.state, "updated_at": self.now, "version": self.job.version + 1}
        return {**self.changes, **moved, **held, **begun}

    @property
    def _values(self) -> dict[str, Any]:
        job, also = self.job, self.also
        own = [url for url in (job.callback_url, job.on_done) if url] if self.ends else []
        return {
            "job": job.id,
            "read_version": job.version,
            "read_due_at": job.due_at if self.due_at else None,
            "new_due_at": self.due_at,
            "new_answer": also.answer,
            "holder": also.holder,
            **new(self._columns),
            **noted(self.note, self.now),
            **addressed(job.caller, self.note.type, own),
            **of(slots.pack(job.account, job.family)),
            **(also.learned._asdict() if also.learned else {}),
        }


_NOBODY: Mapping[str, Any] = {"lease_owner": None, "lease_until": None}


def note_of(state: State, data: Mapping[str, Any]) -> Note:
    """What the timeline says of a job that comes to `state`."""
    return Note(inner(state), data)


class _Parts(NamedTuple):
    answer: bool
    told: bool
    found: bool
    freed: bool
    learned: bool
    request: bool


@lru_cache
def _statement(names: tuple[str, ...], parts: _Parts) -> Statement:
    """The statement that sets these columns. Its row: the job, `told`, `waited`, `request`, `told_at`."""
    sets = ", ".join(f"{name} = :new_{name}" for name in names)
    columns = ", ".join(column.name for column in JOB_COLUMNS)
    written_too = {
        "answered": (_ANSWERED, parts.answer),
        "learned": (LEARNED, parts.learned),
    }
    parts_of_it = {
        "moved": _MOVED.format(sets=sets, columns=columns),
        **{name: sql for name, (sql, wanted) in written_too.items() if wanted},
        **written("moved", told=parts.told, more=_FOUND_BY if parts.found else None),
    }
    told = "select id from delivered where state = 'pending'" if parts.told else "select id from moved where false"
    waited = WAITED if parts.freed else "false"
    request = _REQUEST if parts.request else "cast(null as bytea)"
    also = f"array({told}) as told, {waited} as waited, {request} as request, clock_timestamp() as told_at"
    result = f"select moved.*, {also} from moved"  # noqa: S608 - words of ours
    return Statement(
        of_parts(parts_of_it, result).bindparams(
            bindparam("data", type_=JSONB), bindparam("at", type_=DateTime(timezone=True))
        )
    )
