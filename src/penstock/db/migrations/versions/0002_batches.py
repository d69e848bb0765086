"""Batches, their items, and uploaded files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock.db.columns import INTEGER, TEXT

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of batches."""
    _make_batches()
    op.create_table(
        "batch_items",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("number", INTEGER, nullable=False),
        sa.Column("custom_id", TEXT),
        sa.Column("state", INTEGER, nullable=False),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("outcome", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_batch_items"),
    )
    op.create_table(
        "batch_files",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("purpose", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger()),
        sa.Column("batch_id", TEXT),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_batch_files"),
    )
    op.create_index("ix_batch_files_created_at_id", "batch_files", ["created_at", "id"])
    op.create_index(
        "ix_batch_files_owner_created_at_id", "batch_files", ["owner", "created_at", "id"]
    )
    op.create_index(
        "ix_batch_files_batch_id",
        "batch_files",
        ["batch_id"],
        sqlite_where=sa.text("batch_id IS NOT NULL"),
        postgresql_where=sa.text("batch_id IS NOT NULL"),
    )
    op.create_table(
        "batch_chunks",
        sa.Column("file_id", TEXT, nullable=False),
        sa.Column("number", INTEGER, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("file_id", "number", name="pk_batch_chunks"),
    )


def _make_batches() -> None:
    op.create_table(
        "batch_batches",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("endpoint", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("completion_window", TEXT, nullable=False),
        sa.Column("time_limit", sa.Float()),
        sa.Column("input_file_id", TEXT),
        sa.Column("output_file_id", TEXT),
        sa.Column("error_file_id", TEXT),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("options", sa.LargeBinary(), nullable=False),
        sa.Column("metadata", sa.LargeBinary()),
        sa.Column("errors", sa.LargeBinary()),
        sa.Column("total", INTEGER, nullable=False),
        sa.Column("completed", INTEGER, nullable=False),
        sa.Column("failed", INTEGER, nullable=False),
        sa.Column("cached", INTEGER, nullable=False),
        sa.Column("rate", sa.Float(), nullable=False),
        sa.Column("job_id", TEXT),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("in_progress_at", sa.BigInteger()),
        sa.Column("finalizing_at", sa.BigInteger()),
        sa.Column("cancelling_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_batch_batches"),
    )
    op.create_index("ix_batch_batches_created_at_id", "batch_batches", ["created_at", "id"])
    op.create_index(
        "ix_batch_batches_owner_created_at_id", "batch_batches", ["owner", "created_at", "id"]
    )
    op.create_index(
        "ix_batch_batches_live",
        "batch_batches",
        ["id"],
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("batch_chunks", "batch_files", "batch_items", "batch_batches"):
        op.drop_table(table)
