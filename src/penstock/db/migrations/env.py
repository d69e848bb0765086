"""What Alembic runs: the migrations on the connection that `penstock.db.migrate` hands over."""

from __future__ import annotations

from alembic import context

from penstock.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
    compare_type=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
