"""The version after this one: a copy of this tree whose database is a step further, as a deploy brings it."""

from __future__ import annotations

import shutil
from pathlib import Path

from infra.stack.deployment import PROJECT
from worker.store.steps import newest

_PARTS = ("webhook", "worker", "infra")
_VERSIONS = Path("worker/store/migrations/versions")
_STEP = '''"""A step that only adds, as all do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    for table in ("jobs", "callbacks", "events", "deliveries"):
        op.add_column(table, sa.Column("added_{name}", sa.Text(), nullable=False, server_default=""))
'''


def next_version(folder: Path) -> dict[str, str]:
    """Make it in `folder`, or one more there; what its processes must find in their environment."""
    if not folder.exists():
        for part in _PARTS:
            shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "Procfile", folder)
    added = sorted(path.stem for path in (folder / _VERSIONS).glob("9*.py"))
    name = f"9{len(added):03}"
    step = _STEP.format(name=name, before=added[-1] if added else newest())
    (folder / _VERSIONS / f"{name}.py").write_text(step)
    return {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
