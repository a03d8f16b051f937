"""Which jobs were refused slots and wait for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("jobs", sa.Column("queued", sa.Boolean(), nullable=False, server_default=sa.text("false")))


def downgrade() -> None:
    """Take the step back."""
    op.drop_column("jobs", "queued")
