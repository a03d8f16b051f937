"""How often a delivery was begun of which nothing was heard: what gives up one that ends its process each time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("deliveries", sa.Column("begun", sa.Integer(), nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    """Take the step back."""
    op.drop_column("deliveries", "begun")
