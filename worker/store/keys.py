"""API keys at rest: a keyed hash to find one by, and the key sealed with the app's secret, never the key itself."""

from __future__ import annotations

import base64
import hmac
import secrets
from datetime import datetime
from hashlib import sha256

from cryptography.fernet import Fernet
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from worker.store.tables import api_keys

#: Characters of a key that may be shown to tell it from others.
_SHOWN = 8


class ApiKeys:
    """The rows of API keys. `secret` is the app's: without it nobody can test a guess against the table."""

    def __init__(self, engine: Engine, secret: bytes) -> None:
        self._engine = engine
        self._secret = secret
        self._seal = Fernet(base64.urlsafe_b64encode(hmac.digest(secret, b"api-keys", sha256)))

    def caller(self, key: str) -> str | None:
        """The name behind a key; None when there is none, or it was revoked."""
        query = select(api_keys.c.name).where(api_keys.c.hmac == self._hmac(key), api_keys.c.revoked_at.is_(None))
        with self._engine.begin() as connection:
            return connection.execute(query).scalar_one_or_none()

    def secret_of(self, name: str) -> str | None:
        """The key under a name, to check a signature with; None when there is none, or it was revoked."""
        query = select(api_keys.c.sealed).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
        with self._engine.begin() as connection:
            sealed = connection.execute(query).scalar_one_or_none()
        return self._seal.decrypt(sealed).decode() if sealed else None

    def exists(self, name: str) -> bool:
        """Whether a key of this name may ask."""
        query = select(api_keys.c.name).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
        if "\0" in name:
            return False
        with self._engine.begin() as connection:
            return connection.execute(query).scalar_one_or_none() is not None

    def create(self, name: str, now: datetime) -> str:
        """A new key under a new name, shown this once."""
        key = f"rk_{secrets.token_urlsafe(30)}"
        with self._engine.begin() as connection:
            connection.execute(insert(api_keys).values(**self._row(name, key, now)))
        return key

    def ensure(self, name: str, key: str, now: datetime) -> None:
        """Make `key` the one behind `name`, as the environment of a one-click deployment says."""
        row = self._row(name, key, now)
        with self._engine.begin() as connection:
            connection.execute(
                upsert(api_keys)
                .values(**row)
                .on_conflict_do_update(
                    index_elements=["name"],
                    set_={name: row[name] for name in ("hmac", "sealed", "prefix", "revoked_at")},
                )
            )

    def revoke(self, name: str, now: datetime) -> bool:
        """Whether there was a key to revoke."""
        with self._engine.begin() as connection:
            done = connection.execute(
                update(api_keys).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None)).values(revoked_at=now)
            )
            return done.rowcount == 1

    def all(self) -> list[tuple[str, str, datetime, datetime | None]]:
        """Name, prefix, made at, revoked at, of every key."""
        query = select(api_keys.c.name, api_keys.c.prefix, api_keys.c.created_at, api_keys.c.revoked_at)
        with self._engine.begin() as connection:
            return [(r.name, r.prefix, r.created_at, r.revoked_at) for r in connection.execute(query)]

    def _row(self, name: str, key: str, now: datetime) -> dict[str, object]:
        return {
            "name": name,
            "hmac": self._hmac(key),
            "sealed": self._seal.encrypt(key.encode()),
            "prefix": key[:_SHOWN],
            "created_at": now,
            "revoked_at": None,
        }

    def _hmac(self, key: str) -> bytes:
        return hmac.digest(self._secret, key.encode(), sha256)
