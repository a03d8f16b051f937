"""Jobs that stand on earlier ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.add_column("jobs", sa.Column("depth", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("jobs", sa.Column("awaited", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_table(
        "dependencies",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("after_id", sa.Text(), nullable=False),
        sa.Column("judged", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_dependencies_job_id")),
        sa.ForeignKeyConstraint(["after_id"], ["jobs.id"], name=op.f("fk_dependencies_after_id")),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_dependencies")),
    )
    op.create_index("ix_dependencies_after_id", "dependencies", ["after_id"])


def downgrade() -> None:
    """Take the step back."""
    op.drop_index("ix_dependencies_after_id", "dependencies")
    op.drop_table("dependencies")
    op.drop_column("jobs", "awaited")
    op.drop_column("jobs", "depth")
