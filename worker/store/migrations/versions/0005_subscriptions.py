"""Standing subscriptions, receivers with a circuit each, and a row for each attempt at a delivery."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_DUE = sa.text("due_at IS NOT NULL")


def upgrade() -> None:
    """Apply the step."""
    op.alter_column("events", "job_id", nullable=True)
    _subscriptions()
    op.alter_column("deliveries", "job_id", nullable=True)
    for column in (
        sa.Column("sequence", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("receiver", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("tries", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("deliveries", column)
    op.execute(
        """
        update deliveries d
        set sequence = e.sequence, tries = d.attempts, begun_at = e.at,
            receiver = j.caller || ' ' || coalesce(substring(d.url from '^[a-z]+://[^/?#]+'), '')
        from events e, jobs j where e.id = d.event_id and j.id = d.job_id
        """
    )
    op.create_index("ix_deliveries_receiver", "deliveries", ["receiver", "due_at"], postgresql_where=_DUE)
    op.create_index(
        "ix_deliveries_claimed", "deliveries", ["receiver"], postgresql_where=sa.text("claimed_until IS NOT NULL")
    )
    op.create_index("ix_deliveries_url", "deliveries", ["url"], postgresql_where=sa.text("url LIKE 'subscription://%'"))
    op.create_table(
        "attempts",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_attempts_delivery_id")),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_attempts")),
    )
    op.create_table(
        "receivers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("proven", sa.Boolean(), nullable=True),
        sa.Column("open_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_receivers")),
    )


def _subscriptions() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("types", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("description", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("signing", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("old_secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
    )
    op.create_index("ix_subscriptions_caller", "subscriptions", ["caller"])


def downgrade() -> None:
    """Take the step back: what belongs to no job, or to subscriptions, goes with it."""
    op.drop_table("receivers")
    op.drop_table("attempts")
    op.execute("delete from deliveries where job_id is null or url like 'subscription://%'")
    op.execute("delete from events where job_id is null")
    for index in ("ix_deliveries_url", "ix_deliveries_claimed", "ix_deliveries_receiver"):
        op.drop_index(index, "deliveries")
    for column in ("claimed_until", "begun_at", "tries", "receiver", "sequence"):
        op.drop_column("deliveries", column)
    op.alter_column("deliveries", "job_id", nullable=False)
    op.alter_column("events", "job_id", nullable=False)
    op.drop_table("subscriptions")
