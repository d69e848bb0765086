"""What Alembic runs: the migrations, on a connection or written out as SQL.

`penstock.db.migrate` hands over a connection to SQLite; for PostgreSQL it has the SQL written,
which asyncpg then runs: SQLAlchemy needs no driver of its own.
"""

from __future__ import annotations

from alembic import context

from penstock.db.tables import metadata

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    context.run_migrations()
else:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        render_as_batch=True,  # SQLite changes a table by copying it
        compare_type=True,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()
