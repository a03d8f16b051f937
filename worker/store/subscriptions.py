"""Standing subscriptions: who wants to hear of what, where, and how it is signed.

A secret is kept sealed with the app's own and shown once, when it is made: again only in answer to the very request
that made it, under its Idempotency-Key, for a day and while it is not replaced.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import Connection, Engine, Row, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from ulid import ULID

from infra.db import single
from worker.jobs import events, signing
from worker.jobs.signing import Signing
from worker.store.tables import deliveries, subscriptions
from worker.store.tables import events as event_rows
from worker.store.telling import SUBSCRIPTION, receiver

#: So long does an old secret sign beside its successor unless somebody says otherwise.
OVERLAP = timedelta(hours=24)
#: So long is the answer to the request that made one given again, secret and all: clients try again within minutes.
SHOWN_AGAIN = timedelta(hours=24)


@dataclass(frozen=True)
class Subscription:
    """One of them, without its secret."""

    id: str
    caller: str
    url: str
    types: tuple[str, ...]
    description: str
    signing: Signing
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None
    old_until: datetime | None  #: until when the secret before this one signs too
    public_key: str | None  #: `whpk_...`, of v1a


@dataclass(frozen=True)
class Once:
    """What makes asking again safe."""

    key: str  #: the caller's, unique among its subscriptions
    fingerprint: bytes  #: of what was asked


class OtherRequest(Exception):
    """The key was used before, with another request."""


class Subscriptions:
    """The rows of subscriptions, through one engine. `secret` is the app's."""

    def __init__(self, engine: Engine, secret: bytes) -> None:
        self._engine = engine
        self._single = single(engine)
        self._seal = Fernet(base64.urlsafe_b64encode(hmac.digest(secret, b"subscriptions", sha256)))

    def create(
        self,
        caller: str,
        url: str,
        types: Sequence[str],
        how: Signing,
        now: datetime,
        *,
        description: str = "",
        once: Once | None = None,
    ) -> tuple[Subscription, str | None]:
        """A new one and the secret to sign with, which is shown this once; or what `made_before` says of it.

        Raises `OtherRequest`.
        """
        secret = signing.new_secret(how)
        values = {
            "id": f"sub_{ULID()}".lower(),
            "caller": caller,
            "url": url,
            "receiver": receiver(caller, url),
            "types": list(types),
            "description": description,
            "signing": how,
            "secret": self._seal.encrypt(secret.encode()),
            "created_at": now,
            "idempotency_key": once and once.key,
            "fingerprint": once and once.fingerprint,
        }
        made = upsert(subscriptions).values(**values).on_conflict_do_nothing().returning(subscriptions)
        with self._engine.begin() as connection:
            row = connection.execute(made).one_or_none()
        if row is not None:
            return self._shown(row), secret
        before = once and self.made_before(caller, once, now)
        assert before, "the conflict was with one of the same caller and key"
        return before

    def made_before(self, caller: str, once: Once, now: datetime) -> tuple[Subscription, str | None] | None:
        """The one that a caller made under this key, with its secret as long as that is shown again; None without one.

        Raises `OtherRequest`.
        """
        mine = (subscriptions.c.caller == caller, subscriptions.c.idempotency_key == once.key)
        with self._single.begin() as connection:
            row = connection.execute(select(subscriptions).where(*mine)).one_or_none()
        if row is None:
            return None
        if row.fingerprint != once.fingerprint:
            raise OtherRequest
        again = row.old_secret is None and now - row.created_at < SHOWN_AGAIN
        return self._shown(row), self._seal.decrypt(row.secret).decode() if again else None

    def of(self, caller: str) -> list[Subscription]:
        """A caller's own, oldest first."""
        query = select(subscriptions).where(subscriptions.c.caller == caller).order_by(subscriptions.c.id)
        with self._engine.begin() as connection:
            return [self._shown(row) for row in connection.execute(query)]

    def get(self, subscription_id: str, caller: str | None = None) -> Subscription | None:
        """The one with this id; with `caller`, only if it is theirs."""
        query = select(subscriptions).where(subscriptions.c.id == subscription_id)
        if caller is not None:
            query = query.where(subscriptions.c.caller == caller)
        with self._single.begin() as connection:
            row = connection.execute(query).one_or_none()
        return self._shown(row) if row else None

    def keys(self, subscription_id: str, now: datetime) -> list[str]:
        """What its deliveries are signed with: the newest first, and the one before while both count."""
        columns = (subscriptions.c.secret, subscriptions.c.old_secret, subscriptions.c.old_until)
        with self._engine.begin() as connection:
            row = connection.execute(select(*columns).where(subscriptions.c.id == subscription_id)).one()
        sealed = [row.secret]
        if row.old_secret and row.old_until and now < row.old_until:
            sealed.append(row.old_secret)
        return [self._seal.decrypt(one).decode() for one in sealed]

    def change(self, subscription_id: str, **values: Any) -> None:
        """Change `url`, `types` or `description`. What waits goes to the new URL."""
        with self._engine.begin() as connection:
            row = connection.execute(
                select(subscriptions.c.caller).where(subscriptions.c.id == subscription_id).with_for_update()
            ).one()
            if url := values.get("url"):
                values["receiver"] = receiver(row.caller, url)
                connection.execute(
                    update(deliveries)
                    .where(_its(subscription_id), deliveries.c.state.in_(("pending", "held")))
                    .values(receiver=values["receiver"])
                )
            connection.execute(update(subscriptions).where(subscriptions.c.id == subscription_id).values(**values))

    def disable(self, subscription_id: str, reason: str, now: datetime) -> bool:
        """Keep its events from now on, and those that wait. False when it was disabled already, or is gone."""
        with self._engine.begin() as connection:
            done = connection.execute(
                update(subscriptions)
                .where(subscriptions.c.id == subscription_id, subscriptions.c.disabled_at.is_(None))
                .values(disabled_at=now, disabled_reason=reason)
            )
            connection.execute(
                update(deliveries)
                .where(_its(subscription_id), deliveries.c.state == "pending")
                .values(state="held", due_at=None)
            )
            return done.rowcount == 1

    def hold(self, subscription_id: str, delivery_id: str) -> bool:
        """Keep a claimed delivery while its subscription is disabled; False when it no longer is."""
        disabled = select(subscriptions.c.disabled_at).where(subscriptions.c.id == subscription_id)
        with self._engine.begin() as connection:
            if connection.execute(disabled.with_for_update(read=True)).scalar_one_or_none() is None:
                return False
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery_id)
                .values(state="held", due_at=None, claimed_until=None)
            )
            return True

    def enable(self, subscription_id: str, now: datetime) -> int:
        """Let it hear again; how many events were kept for it and are due now."""
        with self._engine.begin() as connection:
            connection.execute(
                update(subscriptions)
                .where(subscriptions.c.id == subscription_id)
                .values(disabled_at=None, disabled_reason=None)
            )
            done = connection.execute(
                update(deliveries)
                .where(_its(subscription_id), deliveries.c.state == "held")
                .values(state="pending", due_at=now, begun_at=now, tries=0)
            )
            return done.rowcount

    def delete(self, subscription_id: str) -> None:
        """Forget it. Deliveries that are left stay as rows, given up."""
        with self._engine.begin() as connection:
            connection.execute(delete(subscriptions).where(subscriptions.c.id == subscription_id))
            connection.execute(
                update(deliveries)
                .where(_its(subscription_id), deliveries.c.state.in_(("pending", "held")))
                .values(state="given_up", due_at=None, last_error="the subscription was deleted")
            )

    def rotate(self, subscription_id: str, now: datetime, overlap: timedelta = OVERLAP) -> str:
        """A new secret, shown this once; the one before signs too for `overlap`."""
        with self._engine.begin() as connection:
            row = connection.execute(
                select(subscriptions.c.secret, subscriptions.c.signing)
                .where(subscriptions.c.id == subscription_id)
                .with_for_update()
            ).one()
            secret = signing.new_secret(Signing(row.signing))
            connection.execute(
                update(subscriptions)
                .where(subscriptions.c.id == subscription_id)
                .values(secret=self._seal.encrypt(secret.encode()), old_secret=row.secret, old_until=now + overlap)
            )
        return secret

    def test(self, subscription: Subscription, now: datetime) -> str:
        """Send it a test event, also while it is disabled; the delivery's id."""
        delivery_id = f"msg_{ULID()}".lower()
        with self._engine.begin() as connection:
            event_id = _event(connection, subscription, now)
            connection.execute(
                insert(deliveries).values(
                    id=delivery_id,
                    event_id=event_id,
                    url=SUBSCRIPTION + subscription.id,
                    receiver=receiver(subscription.caller, subscription.url),
                    state="pending",
                    begun_at=now,
                    due_at=now,
                )
            )
        return delivery_id

    def _shown(self, row: Row[*tuple[Any, ...]]) -> Subscription:
        return Subscription(
            id=row.id,
            caller=row.caller,
            url=row.url,
            types=tuple(row.types),
            description=row.description,
            signing=Signing(row.signing),
            created_at=row.created_at,
            disabled_at=row.disabled_at,
            disabled_reason=row.disabled_reason,
            old_until=row.old_until,
            public_key=signing.public_key(self._seal.decrypt(row.secret).decode()),
        )


def _its(subscription_id: str) -> Any:
    return deliveries.c.url == SUBSCRIPTION + subscription_id


def _event(connection: Connection, subscription: Subscription, now: datetime) -> int:
    values = {"sequence": 0, "type": events.TEST.type, "at": now, "data": {"subscription": subscription.id}}
    event_id: int = connection.execute(insert(event_rows).values(**values).returning(event_rows.c.id)).scalar_one()
    return event_id
