"""The database's time: what workers must agree on is measured by the one clock that all of them can read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from infra.elapsed import elapsed


def _local() -> datetime:
    return datetime.now(UTC)


class DatabaseClock:
    """Says what the time is at the database, from what that last said of it and how long ago that was.

    Hosts differ by minutes; whether a create is old enough to be absent must not depend on who asks. The statements
    that begin a step and that move a job bring the time along, so it hardly costs a question of its own. Before the
    first: the host's time.
    """

    def __init__(self, local: Callable[[], datetime] = _local, passed: Callable[[], float] = elapsed) -> None:
        self._local = local
        self._passed = passed
        self._heard: tuple[datetime, float] | None = None

    def __call__(self) -> datetime:
        """The time."""
        if self._heard is None:
            return self._local()
        at, when = self._heard
        return at + timedelta(seconds=self._passed() - when)

    @property
    def heard(self) -> bool:
        """Whether the database has said anything yet."""
        return self._heard is not None

    def hear(self, at: datetime) -> None:
        """The database just said that it is `at`."""
        self._heard = at, self._passed()
