"""A callback waits for nobody who works on its job: it says when it could not make the job due.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("callbacks", sa.Column("unheard", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.drop_constraint(op.f("fk_callbacks_job_id"), "callbacks")


def downgrade() -> None:
    """Take the step back."""
    op.create_foreign_key(op.f("fk_callbacks_job_id"), "callbacks", "jobs", ["job_id"], ["id"])
    op.drop_column("callbacks", "unheard")
