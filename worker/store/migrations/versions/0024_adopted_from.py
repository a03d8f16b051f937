"""Which job ended without the task that this one has.

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("jobs", sa.Column("adopted_from", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take the step back."""
    op.drop_column("jobs", "adopted_from")
