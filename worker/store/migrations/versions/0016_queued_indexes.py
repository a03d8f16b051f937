"""The lines of jobs that wait for slots, built while jobs come in.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa

from worker.store.migrations.indexes import create_index, drop_index

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_QUEUED = "queued and state = 'accepted'"
_KIND = sa.text("split_part(family, '/', 1)")


def upgrade() -> None:
    """Apply the step."""
    line = ["account", _KIND, "caller", "created_at", "id"]
    create_index("ix_jobs_queued", "jobs", line, postgresql_where=sa.text(_QUEUED))
    anywhere = sa.text(f"{_QUEUED} and fallbacks <> ''")
    create_index("ix_jobs_queued_anywhere", "jobs", [_KIND], postgresql_where=anywhere)
    drop_index("ix_jobs_waiting", "jobs")


def downgrade() -> None:
    """Take the step back."""
    accepted = sa.text("state = 'accepted'")
    create_index("ix_jobs_waiting", "jobs", ["account", "created_at"], postgresql_where=accepted)
    drop_index("ix_jobs_queued_anywhere", "jobs")
    drop_index("ix_jobs_queued", "jobs")
