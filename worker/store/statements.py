"""What is asked of the tables for every job, each question compiled once: see `infra.statement`.

A value that a row gets is called `new_` and its column; one that it is compared with has the name of what it means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BindParameter,
    DateTime,
    Integer,
    Text,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from infra.statement import Statement, of_parts
from worker.jobs.machine import Step
from worker.jobs.model import OTHER, ResultFile, State
from worker.jobs.transfer import Transfer
from worker.store.beginnings import begun, later, unless_called, wants
from worker.store.rows import JOB_COLUMNS
from worker.store.tables import files, jobs, payloads, transfers
from worker.store.telling import written

_PLACE = ("kind", "variant", "ordinal")


def _moment(name: str) -> BindParameter[Any]:
    return bindparam(name, type_=DateTime(timezone=True))


def _new(table: Any, *names: str) -> dict[str, BindParameter[Any]]:
    return {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}


_JOB: BindParameter[Any] = bindparam("job", type_=Text)
_NOW, _SOON, _UNTIL = _moment("now"), _moment("soon"), _moment("until")
_MINE = and_(jobs.c.id == _JOB, jobs.c.lease_owner == bindparam("owner"))
_COPIED = and_(_MINE, jobs.c.state == State.COPYING)
_PLACED = and_(transfers.c.job_id == _JOB, *(transfers.c[name] == bindparam(f"new_{name}") for name in _PLACE))

JOB = Statement(select(*JOB_COLUMNS).where(jobs.c.id == _JOB))
PAYLOAD = MappingProxyType(
    {name: Statement(select(payloads.c[name]).where(payloads.c.job_id == _JOB)) for name in ("request", "answer")}
)
ANSWER = Statement(update(payloads).where(payloads.c.job_id == _JOB).values(_new(payloads, "answer")))


_ACCEPTED = (
    "id", "caller", "account", "family", "model", "expected_units", "list_price", "state", "depth", "external_task_id",
    "callback_url", "on_done", "idempotency_key", "bucket", "prefix", "fallbacks", "slots", "fingerprint",
)  # fmt: skip
_MADE = f"""
    insert into jobs ({", ".join(_ACCEPTED)}, created_at, updated_at, due_at)
    values ({", ".join(f":new_{name}" for name in _ACCEPTED)}, :at, :at, :at)
    on conflict do nothing
    returning {", ".join(column.name for column in JOB_COLUMNS)}
"""  # noqa: S608 - names of columns, and of values that are bound
_REQUESTED = "insert into payloads (job_id, request) select id, cast(:new_request as bytea) from made"
_WRITTEN = {"made": _MADE, "requested": _REQUESTED, **written("made", told=True)}
#: A new job, due at once, its request, and who is told of it; no row when its caller has one of the same name.
ACCEPT = Statement(
    of_parts(
        _WRITTEN, "select made.*, array(select id from delivered where state = 'pending') as told from made"
    ).bindparams(bindparam("data", type_=JSONB), _moment("at"))
)
#: Claim what is due and lies in one of some states, for one sweep only.
CLAIM_DUE = Statement(
    update(jobs)
    .where(
        jobs.c.id.in_(
            select(jobs.c.id)
            .where(jobs.c.due_at <= _NOW, jobs.c.state == func.any(bindparam("states", type_=ARRAY(Text))))
            .order_by(jobs.c.due_at)
            .limit(bindparam("limit", type_=Integer))
            .with_for_update(skip_locked=True)
        )
    )
    .values(due_at=_UNTIL)
    .returning(jobs.c.id, jobs.c.state)
)


# --- steps ------------------------------------------------------------------------------------------------------
@lru_cache
def changed(*names: str) -> Statement:
    """Change these columns of the row as it was read, but let what made it due sooner meanwhile stand."""
    due_at = unless_called(_moment("read_due_at"), _moment("new_due_at"))
    return Statement(
        update(jobs)
        .where(jobs.c.id == _JOB, jobs.c.version == bindparam("read_version"))
        .values({**_new(jobs, *names), "due_at": due_at})
        .returning(*JOB_COLUMNS)
    )


def new(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that columns get, as statements call them."""
    return {f"new_{name}": value for name, value in values.items()}


#: Write down that a step of a job is begun, if the job wants it. While it is worked on it is not due, so what makes it
#: due then can be told from what began the step.
BEGIN: Mapping[Step, Statement] = MappingProxyType(
    {
        step: Statement(
            update(jobs)
            .where(jobs.c.id == _JOB, wants(step))
            .values(due_at=later(_UNTIL), **begun(_NOW, _SOON))
            .returning(*JOB_COLUMNS, func.clock_timestamp().label("told_at"))
        )
        for step in (Step.SUBMIT, Step.FOLLOW_UP)
    }
)

TIME = Statement(select(func.clock_timestamp().label("told_at")))
UNBEGIN = Statement(
    update(jobs).where(jobs.c.id == _JOB, jobs.c.begun > 0).values(begun=jobs.c.begun - 1, begun_at=None)
)

# --- copying ----------------------------------------------------------------------------------------------------
LEASE = Statement(
    update(jobs)
    .where(
        jobs.c.id == _JOB,
        jobs.c.state == State.COPYING,
        or_(jobs.c.lease_until.is_(None), jobs.c.lease_until <= _NOW, jobs.c.lease_owner == bindparam("owner")),
    )
    .values(lease_owner=bindparam("owner"), lease_until=_UNTIL, due_at=_UNTIL, **begun(_NOW, _SOON))
    .returning(*JOB_COLUMNS, func.clock_timestamp().label("told_at"))
)
#: Another thread of the same copy may just have lengthened the lease, to delete something.
PROGRESS = Statement(
    update(jobs)
    .where(_COPIED)
    .values(
        lease_until=func.greatest(jobs.c.lease_until, _UNTIL),
        due_at=later(_UNTIL),
        **_new(jobs, "bytes_copied", "bytes_total"),
    )
)
FILES = Statement(
    select(files.c.job_id, *(files.c[field.name] for field in fields(ResultFile)))
    .where(files.c.job_id == func.any(bindparam("jobs", type_=ARRAY(Text))))
    .order_by(files.c.kind == OTHER, files.c.ordinal, files.c.kind.desc(), files.c.variant)
)
TRANSFERS = Statement(
    select(*(transfers.c[field.name] for field in fields(Transfer))).where(transfers.c.job_id == _JOB)
)

#: Renew a lease that may be a longer one, for what waits and brings nothing to write down.
RENEW = Statement(
    update(jobs).where(_COPIED).values(lease_until=func.greatest(jobs.c.lease_until, _UNTIL), due_at=later(_UNTIL))
)
_RENEWED = update(jobs).where(_COPIED).values(lease_until=_UNTIL, due_at=later(_UNTIL)).returning(jobs.c.id)
_SIGNED = _RENEWED.values(_new(jobs, "bytes_copied", "bytes_total")).cte("held")
_STORED = _new(files, *(field.name for field in fields(ResultFile)))
_ADDED = (
    upsert(files)
    .from_select(["job_id", "stored_at", *_STORED], select(_SIGNED.c.id, _NOW, *_STORED.values()))
    # Only of itself: a key that another job's file has is an error, or a file would be missing without a word.
    .on_conflict_do_nothing(index_elements=["job_id", *_PLACE])
)
_GONE = delete(transfers).where(_PLACED, transfers.c.job_id == _SIGNED.c.id)
#: A file is proven, and under way no longer, if the lease is held; as `PROGRESS` otherwise. A row, if it was held.
ADD_FILE = Statement(select(_SIGNED.c.id).add_cte(_ADDED.cte("added"), _GONE.cte("gone")))

_HELD = _RENEWED.cte("held")
_UNDER_WAY = _new(transfers, *(field.name for field in fields(Transfer)))
#: How far a file is, if the lease is held; the lease is renewed.
SAVE_TRANSFER = Statement(
    upsert(transfers)
    .from_select(
        ["job_id", "begun_at", *_UNDER_WAY],
        select(_HELD.c.id, _NOW, *_UNDER_WAY.values()),
    )
    .on_conflict_do_update(index_elements=["job_id", *_PLACE], set_=_UNDER_WAY)
)
