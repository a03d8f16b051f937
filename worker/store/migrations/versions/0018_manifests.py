"""Where the manifest of a job lies, and the hash of it.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("jobs", sa.Column("manifest_key", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("manifest_sha256", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take the step back."""
    op.drop_column("jobs", "manifest_sha256")
    op.drop_column("jobs", "manifest_key")
