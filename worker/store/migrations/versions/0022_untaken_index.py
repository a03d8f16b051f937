"""What other apps were told of which they may not have taken it yet, built while deliveries are made.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

import sqlalchemy as sa

from worker.store.migrations.indexes import create_index, drop_index

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_UNTAKEN = "state = 'delivered' and taken_at is null and url like 'celery://%'"


def upgrade() -> None:
    """Apply the step."""
    queue = sa.text("split_part(url, '/', 3)")
    create_index("ix_deliveries_untaken", "deliveries", [queue, "delivered_at"], postgresql_where=sa.text(_UNTAKEN))


def downgrade() -> None:
    """Take the step back."""
    drop_index("ix_deliveries_untaken", "deliveries")
