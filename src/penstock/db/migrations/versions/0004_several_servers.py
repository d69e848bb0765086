"""Row numbers on PostgreSQL, limits by route and budgets of keys, counters shared by servers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock.db.columns import TEXT
from penstock.db.tables import ROW_NUMBERS

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_KEYS = ("route_limits", "budget_micros", "budget_tokens", "budget_period")


def upgrade() -> None:
    """Add them."""
    op.add_column("auth_keys", sa.Column("route_limits", TEXT))
    op.add_column("auth_keys", sa.Column("budget_micros", sa.BigInteger()))
    op.add_column("auth_keys", sa.Column("budget_tokens", sa.BigInteger()))
    op.add_column("auth_keys", sa.Column("budget_period", TEXT))
    op.create_table(
        "usage_counters",
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "kind", "name", name="pk_usage_counters"),
    )
    if op.get_context().dialect.name == "postgresql":  # SQLite gives every table a rowid
        for table in ROW_NUMBERS:
            op.add_column(table, sa.Column("rowid", sa.BigInteger(), sa.Identity(), nullable=False))
            op.create_index(f"ix_{table}_rowid", table, ["rowid"], unique=True)


def downgrade() -> None:
    """Drop them."""
    if op.get_context().dialect.name == "postgresql":
        for table in ROW_NUMBERS:
            op.drop_column(table, "rowid")
    op.drop_table("usage_counters")
    for column in _KEYS:
        op.drop_column("auth_keys", column)
