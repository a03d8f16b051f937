"""A key's slots as a part of an account's, and how many of those there are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("api_keys", sa.Column("slots_percent", sa.Integer(), nullable=True))
    op.add_column("accounts", sa.Column("slots", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Take the step back."""
    op.drop_column("accounts", "slots")
    op.drop_column("api_keys", "slots_percent")
