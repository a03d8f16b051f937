"""What all tasks have in common."""

from __future__ import annotations

from typing import Any

from celery import Task
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from infra.db import is_away
from infra.log import logger
from worker.store.steps import first_line, why

log = logger(__name__)


class Steady(Task[Any, Any]):
    """A task that says in one line that the database can't do its work just now: what is to be done stands in a row,
    and the sweep sends it again. A traceback for each, every few seconds, would bury what is wrong.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it. Raises what it raises for any other reason."""
        try:
            return self.run(*args, **kwargs)
        except (DBAPIError, PoolTimeout) as fault:
            if not (isinstance(fault, OperationalError) or is_away(fault)):
                raise
            said = why(fault) or first_line(fault)
            log.error("task.no_database", reason=said)  # noqa: TRY400 - as said, without the traceback
            return None
