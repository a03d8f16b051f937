"""What a key may do, two secrets while one is replaced, where a job's files go, creates that are under way."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _keys() -> list[sa.Column[Any]]:
    return [
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("old_hmac", sa.LargeBinary(), nullable=True),
        sa.Column("old_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("old_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False, server_default="{submit,read,operate}"),
        sa.Column("prefixes", postgresql.ARRAY(sa.Text()), nullable=False, server_default="{}"),
        sa.Column("slots", sa.Integer(), nullable=True),
        sa.Column("per_minute", sa.Integer(), nullable=True),
        sa.Column("busy_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
    ]


def upgrade() -> None:
    """Apply the step."""
    for column in _keys():
        op.add_column("api_keys", column)
    op.create_index(
        "ix_api_keys_old_hmac",
        "api_keys",
        ["old_hmac"],
        unique=True,
        postgresql_where=sa.text("old_hmac is not null"),
    )
    op.add_column("jobs", sa.Column("prefix", sa.Text(), nullable=False, server_default=""))
    op.create_index("ix_jobs_prefix", "jobs", ["prefix"], postgresql_where=sa.text("prefix <> ''"))
    op.create_table(
        "claims",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name=op.f("pk_claims")),
    )


def downgrade() -> None:
    """Take the step back."""
    op.drop_table("claims")
    op.drop_index("ix_jobs_prefix", "jobs")
    op.drop_column("jobs", "prefix")
    op.drop_index("ix_api_keys_old_hmac", "api_keys")
    for column in reversed(_keys()):
        op.drop_column("api_keys", column.name)
