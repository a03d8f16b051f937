"""How many frames of a film a decoder found broken.

Revision ID: 0027
Revises: 0026
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("files", sa.Column("damaged_frames", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Take the step back."""
    op.drop_column("files", "damaged_frames")
