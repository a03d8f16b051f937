"""What came of a file after its last part, and where it lies until the part is whole.

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("transfers", sa.Column("rest", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    """Take the step back."""
    op.drop_column("transfers", "rest")
