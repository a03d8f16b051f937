"""The tables of those who are told: who, what of, and what became of it."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from worker.store.columns import MOMENT, count, metadata

#: Standing orders of a caller to be told: where, of what, and how it is signed.
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("caller", Text, nullable=False),
    Column("url", Text, nullable=False),
    #: See `deliveries.receiver`.
    Column("receiver", Text, nullable=False),
    #: Types, groups such as video.*, or *.
    Column("types", ARRAY(Text), nullable=False),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("signing", Text, nullable=False),
    #: Sealed with the app's secret, as the one before it, which signs too until then.
    Column("secret", LargeBinary, nullable=False),
    Column("old_secret", LargeBinary),
    Column("old_until", MOMENT),
    #: While it is disabled its events are kept.
    Column("disabled_at", MOMENT),
    Column("disabled_reason", Text),
    #: From the header Idempotency-Key, and the SHA-256 of what was asked with it.
    Column("idempotency_key", Text),
    Column("fingerprint", LargeBinary),
    Column("created_at", MOMENT, nullable=False),
    UniqueConstraint("caller", "idempotency_key"),
)
Index("ix_subscriptions_caller", subscriptions.c.caller)

#: One for each event and receiver. Its id is the `webhook-id`, the same at every attempt.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("job_id", Text, ForeignKey("jobs.id")),
    #: Of its event: to one receiver a job's deliveries go in this order.
    Column("sequence", Integer, nullable=False, server_default=text("0")),
    #: A callback_url, celery://QUEUE/TASK, or subscription://ID.
    Column("url", Text, nullable=False),
    #: Who fails together: the caller and the origin of the URL, `CALLER ORIGIN`.
    Column("receiver", Text, nullable=False, server_default=text("''")),
    #: pending, held (its subscription is disabled), delivered, given_up.
    Column("state", Text, nullable=False),
    count("attempts"),
    #: Attempts of which something was heard since it was last begun anew: what the schedule counts.
    count("tries"),
    #: Attempts in a row that were begun and of which nothing was heard: their processes died.
    count("begun"),
    #: When the schedule began: with the event, or with a replay.
    Column("begun_at", MOMENT, nullable=False, server_default=text("now()")),
    Column("due_at", MOMENT),
    #: Until when an attempt that is being made may take.
    Column("claimed_until", MOMENT),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("delivered_at", MOMENT),
    #: Of a task that another app named: since when we know that its worker took it from the broker.
    Column("taken_at", MOMENT),
    UniqueConstraint("event_id", "url"),
)
Index("ix_deliveries_due_at", deliveries.c.due_at, postgresql_where=deliveries.c.due_at.is_not(None))
Index(
    "ix_deliveries_receiver",
    deliveries.c.receiver,
    deliveries.c.due_at,
    postgresql_where=deliveries.c.due_at.is_not(None),
)
Index("ix_deliveries_claimed", deliveries.c.receiver, postgresql_where=deliveries.c.claimed_until.is_not(None))
Index("ix_deliveries_job_id", deliveries.c.job_id)
Index("ix_deliveries_url", deliveries.c.url, postgresql_where=deliveries.c.url.like("subscription://%"))
#: What a broker has and may lose.
UNTAKEN = "state = 'delivered' and taken_at is null and url like 'celery://%'"
Index(
    "ix_deliveries_untaken",
    text("split_part(url, '/', 3)"),
    deliveries.c.delivered_at,
    postgresql_where=text(UNTAKEN),
)

#: Brokers in which a mark was left: see `worker.jobs.brokers`.
brokers = Table(
    "brokers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("marked_at", MOMENT, nullable=False),
    Column("server", Text),
    Column("evicted", BigInteger),
)

#: What became of each attempt at a delivery.
attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", Text, ForeignKey("deliveries.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", MOMENT, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("status", Integer),
    #: The first kB of what the receiver said.
    Column("answer", Text, nullable=False, server_default=text("''")),
    Column("error", Text),
)

#: What is known of receivers: see `worker.jobs.circuit`. One that was never tried has no row.
receivers = Table(
    "receivers",
    metadata,
    Column("name", Text, primary_key=True),
    count("failures"),
    Column("proven", Boolean),
    Column("open_until", MOMENT),
)
