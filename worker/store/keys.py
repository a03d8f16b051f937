"""API keys at rest: a keyed hash to find one by, and the key sealed with the app's secret, never the key itself.

While a key is replaced there are two of them, for as long as whoever replaced it said.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import product
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    LargeBinary,
    Row,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from infra.statement import Statement
from worker.jobs.access import Caller, Scope
from worker.store.tables import api_keys

#: Characters of a key that may be shown to tell it from others.
_SHOWN = 8
#: When a key was used last is written at most so often: nobody asks for seconds, and each writing costs.
_USED_STEP = timedelta(minutes=1)


@dataclass(frozen=True)
class Terms:
    """What a key may do, and until when: see `worker.jobs.access.Caller`."""

    scopes: tuple[Scope, ...] = tuple(Scope)
    prefixes: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()
    slots: int | None = None  #: of one account, that its jobs may hold at once
    slots_percent: int | None = None  #: the same as a part of the account's, rounded up; one of the two is said at most
    per_minute: int | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class ApiKey:
    """A key as it is shown: without the key."""

    name: str
    begins: str  #: its first characters
    terms: Terms
    created_at: datetime
    used_at: datetime | None  #: to the minute
    old_until: datetime | None  #: until then the key before it opens too
    revoked_at: datetime | None


class ApiKeys:
    """The rows of API keys. `secret` is the app's: without it nobody can test a guess against the table."""

    def __init__(self, engine: Engine, secret: bytes) -> None:
        self._engine = engine
        self._secret = secret
        self._seal = Fernet(base64.urlsafe_b64encode(hmac.digest(secret, b"api-keys", sha256)))
        # A name that nobody has gets a key that nobody has: telling it from a wrong signature takes as long.
        self._nobody = self._seal.encrypt(secrets.token_bytes(30).hex().encode())

    # --- who is asking ------------------------------------------------------------------------------------------
    def caller(self, key: str, now: datetime) -> Caller | None:
        """Whose key it is; None when it is nobody's, or opens nothing any more."""
        digest = self._hmac(key)
        row = _OF_KEY.alone(self._engine, hmac=digest, now=now).fetchone()
        if row is None or not _is_to_note(row, now):
            return _caller(row)
        with self._engine.begin() as connection:
            return _used(connection, row, now)

    def signer(self, name: str, now: datetime) -> tuple[Caller | None, list[str]]:
        """Who has a name, and the keys that may have signed for it. With nobody, a key that nobody has."""
        with self._engine.begin() as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.name == name, _opens(now))).one_or_none()
            who = _used(connection, row, now)
        sealed = [row.sealed if row else self._nobody]
        if row and row.old_sealed and row.old_until > now:
            sealed.append(row.old_sealed)
        return who, [self._seal.decrypt(one).decode() for one in sealed]

    def named(self, name: str, now: datetime) -> Caller | None:
        """The key of this name, for who needs no proof: apps on our own broker."""
        if "\0" in name:
            return None
        with self._engine.begin() as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.name == name, _opens(now))).one_or_none()
            return _used(connection, row, now)

    # --- who may ask --------------------------------------------------------------------------------------------
    def create(self, name: str, now: datetime, terms: Terms | None = None) -> str:
        """A new key under a new name, shown this once."""
        key = _new_key()
        with self._engine.begin() as connection:
            values = {"name": name, "created_at": now, **self._sealed(key), **_columns(terms or Terms())}
            connection.execute(insert(api_keys).values(**values))
        return key

    def ensure(self, name: str, key: str, now: datetime) -> None:
        """Make `key` the one behind `name`, as the environment of a one-click deployment says."""
        sealed = self._sealed(key)
        with self._engine.begin() as connection:
            connection.execute(
                upsert(api_keys)
                .values(name=name, created_at=now, **sealed)
                .on_conflict_do_update(index_elements=["name"], set_={**sealed, "revoked_at": None})
            )

    def change(self, name: str, terms: Terms) -> bool:
        """Whether there was a key to give these terms."""
        with self._engine.begin() as connection:
            done = connection.execute(update(api_keys).where(api_keys.c.name == name).values(**_columns(terms)))
            return done.rowcount == 1

    def rotate(self, name: str, now: datetime, overlap: timedelta) -> str | None:
        """A new key for a name, shown this once; the old one opens for `overlap` more. None without such a key."""
        key = _new_key()
        with self._engine.begin() as connection:
            done = connection.execute(
                update(api_keys)
                .where(api_keys.c.name == name, _opens(now))
                .values(
                    **self._sealed(key),
                    old_hmac=api_keys.c.hmac if overlap else None,
                    old_sealed=api_keys.c.sealed if overlap else None,
                    old_until=now + overlap,
                )
            )
            return key if done.rowcount == 1 else None

    def revoke(self, name: str, now: datetime) -> bool:
        """Whether there was a key to revoke."""
        with self._engine.begin() as connection:
            done = connection.execute(
                update(api_keys)
                .where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=now, old_hmac=None, old_sealed=None, old_until=None)
            )
            return done.rowcount == 1

    def all(self) -> list[ApiKey]:
        """Every key there ever was, by name."""
        with self._engine.begin() as connection:
            return [_shown(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.name))]

    def places(self, now: datetime) -> list[tuple[str, str]]:
        """Every bucket and prefix that a key which opens may use; empty for the deployment's own, and for the root."""
        query = select(api_keys.c.buckets, api_keys.c.prefixes).where(_opens(now))
        with self._engine.begin() as connection:
            rows = connection.execute(query).all()
        return sorted({place for row in rows for place in product(row.buckets or [""], row.prefixes or [""])})

    def get(self, name: str) -> ApiKey | None:
        """The key of this name, whether it opens or not."""
        return next((key for key in self.all() if key.name == name), None)

    def _sealed(self, key: str) -> dict[str, object]:
        return {"hmac": self._hmac(key), "sealed": self._seal.encrypt(key.encode()), "prefix": key[:_SHOWN]}

    def _hmac(self, key: str) -> bytes:
        return hmac.digest(self._secret, key.encode(), sha256)


def _new_key() -> str:
    return f"rk_{secrets.token_urlsafe(30)}"


def _opens(now: Any) -> ColumnElement[bool]:
    return and_(api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now))


def _used(connection: Connection, row: Any, now: datetime) -> Caller | None:
    """The caller in a row, noted as used; many at once write it once."""
    if row is not None and _is_to_note(row, now):
        old = func.coalesce(api_keys.c.used_at <= now - _USED_STEP, True)
        connection.execute(update(api_keys).where(api_keys.c.name == row.name, old).values(used_at=now))
    return _caller(row)


def _is_to_note(row: Any, now: datetime) -> bool:
    return row.used_at is None or bool(row.used_at <= now - _USED_STEP)


def _caller(row: Any) -> Caller | None:
    if row is None:
        return None
    return Caller(row.name, frozenset(_scopes(row.scopes)), tuple(row.prefixes), tuple(row.buckets), row.per_minute)


def _scopes(names: Sequence[str]) -> tuple[Scope, ...]:
    """Those that this code knows: a newer one may have written others."""
    return tuple(scope for scope in Scope if scope in names)


def _columns(terms: Terms) -> dict[str, object]:
    return {
        "scopes": [str(scope) for scope in terms.scopes],
        "prefixes": list(terms.prefixes),
        "buckets": list(terms.buckets),
        "slots": terms.slots,
        "slots_percent": terms.slots_percent,
        "per_minute": terms.per_minute,
        "expires_at": terms.expires_at,
    }


def _shown(row: Row[Any]) -> ApiKey:
    where = tuple(row.prefixes), tuple(row.buckets)
    terms = Terms(_scopes(row.scopes), *where, row.slots, row.slots_percent, row.per_minute, row.expires_at)
    return ApiKey(row.name, row.prefix, terms, row.created_at, row.used_at, row.old_until, row.revoked_at)


_NOW, _HMAC = bindparam("now", type_=DateTime(timezone=True)), bindparam("hmac", type_=LargeBinary)
_MINE = or_(api_keys.c.hmac == _HMAC, and_(api_keys.c.old_hmac == _HMAC, api_keys.c.old_until > _NOW))
_OF_KEY = Statement(select(api_keys).where(_MINE, _opens(_NOW)))
