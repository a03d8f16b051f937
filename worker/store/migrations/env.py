"""What alembic runs: one step after another, each in a transaction of its own, on the connection that `migrate` gives.

So a step that has to give way takes none of those before it back, and holds none of their locks.
"""

from __future__ import annotations

from alembic import context

from worker.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
