"""The index of the events that say how the end of a task was found: the health of callbacks is counted from them.

Revision ID: 0023
Revises: 0022
"""

from __future__ import annotations

import sqlalchemy as sa

from worker.store.migrations.indexes import create_index, drop_index

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    create_index("ix_events_found", "events", ["at"], postgresql_where=sa.text("data ->> 'found_by' is not null"))


def downgrade() -> None:
    """Take the step back."""
    drop_index("ix_events_found", "events")
