"""Rows of jobs as values."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import Row

from worker.jobs.model import Job, State
from worker.store.tables import jobs

_NAMES = [field.name for field in fields(Job)]
#: What `job_of` reads.
JOB_COLUMNS = [jobs.c[name] for name in _NAMES]


def job_of(row: Row[*tuple[Any, ...]]) -> Job:
    """The job in a row that has at least `JOB_COLUMNS`."""
    values = {name: row._mapping[name] for name in _NAMES}  # noqa: SLF001 - public in SQLAlchemy, but for its name
    return Job(**{**values, "state": State(values["state"])})
