"""In which list of the provider's result a file stood, where that is not the one of its kind.

Revision ID: 0026
Revises: 0025
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("files", sa.Column("listed", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take the step back."""
    op.drop_column("files", "listed")
