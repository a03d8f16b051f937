"""What a subscription was made from: asked for again with the same Idempotency-Key, it is the same one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("subscriptions", sa.Column("idempotency_key", sa.Text(), nullable=True))
    op.add_column("subscriptions", sa.Column("fingerprint", sa.LargeBinary(), nullable=True))
    op.create_unique_constraint(
        "uq_subscriptions_caller_idempotency_key", "subscriptions", ["caller", "idempotency_key"]
    )


def downgrade() -> None:
    """Take the step back."""
    op.drop_constraint("uq_subscriptions_caller_idempotency_key", "subscriptions")
    op.drop_column("subscriptions", "fingerprint")
    op.drop_column("subscriptions", "idempotency_key")
