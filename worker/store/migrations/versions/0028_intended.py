"""How long the parts are that may be on their way, so that who goes on with an upload cuts the file in the same places.

Revision ID: 0028
Revises: 0027
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("transfers", sa.Column("intended", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    """Take the step back."""
    op.drop_column("transfers", "intended")
