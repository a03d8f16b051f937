"""The model of a job, and the contact sheet beside a film."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("jobs", sa.Column("model", sa.Text(), nullable=True))
    op.add_column("files", sa.Column("sheet_key", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take the step back."""
    op.drop_column("files", "sheet_key")
    op.drop_column("jobs", "model")
