"""The index of the callbacks that a sweep looks for, built while others come in.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa

from worker.store.migrations.indexes import create_index, drop_index

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    create_index("ix_callbacks_unheard", "callbacks", ["job_id"], postgresql_where=sa.text("unheard"))


def downgrade() -> None:
    """Take the step back."""
    drop_index("ix_callbacks_unheard", "callbacks")
