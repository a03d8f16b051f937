"""The index of the places that files were sent to, built while jobs come in.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa

from worker.store.migrations.indexes import create_index, drop_index

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    elsewhere = sa.text("bucket <> '' or prefix <> ''")
    create_index("ix_jobs_places", "jobs", ["bucket", "prefix"], postgresql_where=elsewhere)
    drop_index("ix_jobs_prefix", "jobs")


def downgrade() -> None:
    """Take the step back."""
    create_index("ix_jobs_prefix", "jobs", ["prefix"], postgresql_where=sa.text("prefix <> ''"))
    drop_index("ix_jobs_places", "jobs")
