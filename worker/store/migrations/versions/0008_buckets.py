"""Buckets beside the deployment's own: those that a key may use, and the one that a job's files go to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("api_keys", sa.Column("buckets", postgresql.ARRAY(sa.Text()), nullable=False, server_default="{}"))
    op.add_column("jobs", sa.Column("bucket", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Take the step back."""
    op.drop_column("jobs", "bucket")
    op.drop_column("api_keys", "buckets")
