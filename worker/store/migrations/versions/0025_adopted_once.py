"""A job's task is adopted once.

Revision ID: 0025
Revises: 0024
"""

from __future__ import annotations

import sqlalchemy as sa

from worker.store.migrations.indexes import create_index, drop_index

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    adopted = sa.text("adopted_from is not null")
    create_index("ix_jobs_adopted_from", "jobs", ["adopted_from"], unique=True, postgresql_where=adopted)


def downgrade() -> None:
    """Take the step back."""
    drop_index("ix_jobs_adopted_from", "jobs")
