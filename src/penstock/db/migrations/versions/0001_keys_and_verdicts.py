"""API keys and recorded verdicts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock.db.columns import INTEGER, TEXT

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "auth_keys",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("prefix", TEXT, nullable=False),
        sa.Column("rate_limit", INTEGER),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.Column("last_used_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_auth_keys"),
        sa.UniqueConstraint("digest", name="uq_auth_keys_digest"),
    )
    op.create_index("ix_auth_keys_created_at_id", "auth_keys", ["created_at", "id"])
    op.create_table(
        "moderation_verdicts",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("content_hash", TEXT, nullable=False),
        sa.Column("content_key", TEXT, nullable=False),
        sa.Column("score_key", TEXT, nullable=False),
        sa.Column("policy_version", TEXT, nullable=False),
        sa.Column("decision", TEXT, nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("risk", sa.Float(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("excerpt_share", sa.Float(), nullable=False),
        sa.Column("word_count", INTEGER, nullable=False),
        sa.Column("content", TEXT),
        sa.Column("user_id", TEXT),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_moderation_verdicts"),
    )
    op.create_index(
        "ix_moderation_verdicts_created_at_id", "moderation_verdicts", ["created_at", "id"]
    )
    op.create_index(
        "ix_moderation_verdicts_owner_created_at_id",
        "moderation_verdicts",
        ["owner", "created_at", "id"],
    )
    op.create_index(
        "ix_moderation_verdicts_user_id",
        "moderation_verdicts",
        ["user_id"],
        sqlite_where=sa.text("user_id IS NOT NULL"),
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("moderation_verdicts")
    op.drop_table("auth_keys")
