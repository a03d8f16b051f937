"""Rows of jobs as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from worker.jobs.model import Job, State
from worker.store.tables import jobs

_NAMES = [field.name for field in fields(Job)]
_STATE = _NAMES.index("state")
#: What `job_of` reads.
JOB_COLUMNS = [jobs.c[name] for name in _NAMES]


def job_of(row: Sequence[Any]) -> Job:
    """The job in a row that begins with `JOB_COLUMNS`."""
    values = list(row[: len(_NAMES)])
    values[_STATE] = State(values[_STATE])
    return Job(*values)
