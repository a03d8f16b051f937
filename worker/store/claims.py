"""Idempotency keys whose requests are being looked at: checking may take seconds, and there is no row of a job yet.

A claim holds for a moment: what a crash left behind means nothing soon after. No connection is held meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from worker.store.tables import claims, jobs

#: Longer than a check takes. Should one take longer nevertheless, the jobs' own rows still let only one of two be.
LEASE = timedelta(seconds=60)


@dataclass(frozen=True)
class Held:
    """Another request with the same key is being looked at."""

    fingerprint: bytes


class Claims:
    """The rows of claims, through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take(self, caller: str, key: str, fingerprint: bytes, now: datetime) -> Held | None:
        """Claim a key for `LEASE`, or say who holds it. None also where its job is there: nothing is to be claimed."""
        mine = {"fingerprint": fingerprint, "until": now + LEASE}
        with self._engine.begin() as connection:
            taken = connection.execute(
                upsert(claims)
                .values(caller=caller, key=key, **mine)
                .on_conflict_do_update(index_elements=["caller", "key"], set_=mine, where=claims.c.until <= now)
                .returning(claims.c.until)
            ).one_or_none()
            if taken:
                return None
            made = select(jobs.c.id).where(jobs.c.caller == caller, jobs.c.idempotency_key == key)
            if connection.execute(made).first():
                return None
            held = select(claims.c.fingerprint).where(claims.c.caller == caller, claims.c.key == key)
            # Gone meanwhile: the other one was refused just now, and asking again begins anew.
            return Held(connection.execute(held).scalar_one_or_none() or fingerprint)

    def release(self, caller: str, key: str, now: datetime) -> None:
        """Give back what was claimed at `now`. A claim that somebody else took over since stays his."""
        with self._engine.begin() as connection:
            connection.execute(
                delete(claims).where(claims.c.caller == caller, claims.c.key == key, claims.c.until == now + LEASE)
            )
