"""Policies, lists, cases, webhooks, usage, the audit log, and what verdicts say of themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock.db.columns import INTEGER, TEXT
from penstock.db.tables import append_only

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of moderation in full."""
    _widen()
    _make_moderation()
    _make_review()
    _make_audit()
    _make_notify()
    _make_usage()
    _make_perspective()
    for trigger in append_only(op.get_context().dialect.name):
        op.execute(trigger)


def downgrade() -> None:
    """Drop them."""
    for table in (
        "usage_days",
        "review_items",
        "review_examples",
        "review_events",
        "review_contents",
        "review_cases",
        "review_bands",
        "perspective_suggestions",
        "perspective_curves",
        "notify_webhooks",
        "notify_waiting",
        "moderation_policies",
        "moderation_lists",
        "moderation_entries",
        "moderation_assignments",
        "moderation_activations",
        "audit_entries",
    ):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_entries_refuse()")
    for column in ("listed", "degraded", "is_foreign", "scores", "key_id"):
        op.drop_column("moderation_verdicts", column)
    op.drop_column("batch_batches", "key_id")


def _widen() -> None:
    op.add_column("batch_batches", sa.Column("key_id", TEXT))
    op.add_column("moderation_verdicts", sa.Column("key_id", TEXT))
    op.add_column("moderation_verdicts", sa.Column("scores", sa.LargeBinary()))
    op.add_column("moderation_verdicts", sa.Column("is_foreign", sa.Boolean()))
    op.add_column("moderation_verdicts", sa.Column("degraded", TEXT))
    op.add_column("moderation_verdicts", sa.Column("listed", TEXT))


def _make_moderation() -> None:
    op.create_table(
        "moderation_activations",
        sa.Column("number", INTEGER, nullable=False),
        sa.Column("policy_id", TEXT, nullable=False),
        sa.Column("revision", INTEGER, nullable=False),
        sa.Column("is_rollback", sa.Boolean(), nullable=False),
        sa.Column("activated_by", TEXT, nullable=False),
        sa.Column("activated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_moderation_activations"),
    )
    op.create_index(
        "ix_moderation_activations_policy_id_number",
        "moderation_activations",
        ["policy_id", "number"],
    )
    op.create_table(
        "moderation_assignments",
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("policy_id", TEXT, nullable=False),
        sa.Column("assigned_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_moderation_assignments"),
    )
    op.create_table(
        "moderation_entries",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("list_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("note", TEXT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger()),
        sa.Column("change", INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_moderation_entries"),
        sa.UniqueConstraint(
            "list_id", "kind", "value", name="uq_moderation_entries_list_id_kind_value"
        ),
    )
    op.create_index("ix_moderation_entries_change", "moderation_entries", ["change"])
    op.create_table(
        "moderation_lists",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("key_id", TEXT),
        sa.Column("disguises", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_moderation_lists"),
    )
    op.create_index("ix_moderation_lists_created_at_id", "moderation_lists", ["created_at", "id"])
    op.create_table(
        "moderation_policies",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("revision", INTEGER, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("note", TEXT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", "revision", name="pk_moderation_policies"),
    )


def _make_review() -> None:
    op.create_table(
        "review_bands",
        sa.Column("band", sa.BigInteger(), nullable=False),
        sa.Column("case_id", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("band", "case_id", name="pk_review_bands"),
    )
    op.create_table(
        "review_cases",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("decision", TEXT),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("assignee", TEXT),
        sa.Column("risk", sa.Float(), nullable=False),
        sa.Column("category", TEXT),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("signature", sa.LargeBinary()),
        sa.Column("similar_to", TEXT),
        sa.Column("items", INTEGER, nullable=False),
        sa.Column("contents", INTEGER, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("claimed_at", sa.BigInteger()),
        sa.Column("decided_at", sa.BigInteger()),
        sa.Column("decided_by", TEXT),
        sa.Column("settled_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_review_cases"),
    )
    op.create_index(
        "ix_review_cases_appeals",
        "review_cases",
        ["owner"],
        sqlite_where=sa.text("decided_at IS NULL AND kind = 'appeal'"),
        postgresql_where=sa.text("decided_at IS NULL AND kind = 'appeal'"),
    )
    op.create_index("ix_review_cases_created_at_id", "review_cases", ["created_at", "id"])
    op.create_index("ix_review_cases_decided_at_id", "review_cases", ["decided_at", "id"])
    op.create_index(
        "ix_review_cases_live",
        "review_cases",
        ["due_at", "id"],
        sqlite_where=sa.text("decided_at IS NULL"),
        postgresql_where=sa.text("decided_at IS NULL"),
    )
    op.create_table(
        "review_contents",
        sa.Column("case_id", TEXT, nullable=False),
        sa.Column("content_hash", TEXT, nullable=False),
        sa.Column("risk", sa.Float(), nullable=False),
        sa.Column("category", TEXT),
        sa.Column("content", TEXT),
        sa.Column("content_until", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("case_id", "content_hash", name="pk_review_contents"),
    )
    op.create_index(
        "ix_review_contents_content_until",
        "review_contents",
        ["content_until"],
        sqlite_where=sa.text("content IS NOT NULL"),
        postgresql_where=sa.text("content IS NOT NULL"),
    )
    op.create_table(
        "review_events",
        sa.Column("number", INTEGER, nullable=False),
        sa.Column("case_id", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_review_events"),
    )
    op.create_index("ix_review_events_case_id_number", "review_events", ["case_id", "number"])
    op.create_table(
        "review_examples",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("case_id", TEXT, nullable=False),
        sa.Column("content", TEXT),
        sa.Column("content_hash", TEXT, nullable=False),
        sa.Column("category", TEXT),
        sa.Column("was", TEXT, nullable=False),
        sa.Column("decision", TEXT, nullable=False),
        sa.Column("user_id", TEXT),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_review_examples"),
        sa.UniqueConstraint("content_hash", name="uq_review_examples_content_hash"),
    )
    op.create_index("ix_review_examples_created_at_id", "review_examples", ["created_at", "id"])
    op.create_table(
        "review_items",
        sa.Column("verdict_id", TEXT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("case_id", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("user_id", TEXT),
        sa.Column("content_key", TEXT, nullable=False),
        sa.Column("content_hash", TEXT, nullable=False),
        sa.Column("decision", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("appealed_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("verdict_id", "key_id", "case_id", name="pk_review_items"),
    )
    op.create_index(
        "ix_review_items_case_id_created_at_verdict_id",
        "review_items",
        ["case_id", "created_at", "verdict_id"],
    )
    op.create_index("ix_review_items_content_hash_owner", "review_items", ["content_hash", "owner"])
    op.create_index(
        "ix_review_items_user_id",
        "review_items",
        ["user_id"],
        sqlite_where=sa.text("user_id IS NOT NULL"),
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )


def _make_audit() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("number", INTEGER, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_entries"),
    )
    op.create_index("ix_audit_entries_action_number", "audit_entries", ["action", "number"])
    op.create_index("ix_audit_entries_actor_number", "audit_entries", ["actor", "number"])
    op.create_index("ix_audit_entries_subject_number", "audit_entries", ["subject", "number"])


def _make_notify() -> None:
    op.create_table(
        "notify_waiting",
        sa.Column("number", INTEGER, nullable=False),
        sa.Column("webhook_id", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_notify_waiting"),
    )
    op.create_table(
        "notify_webhooks",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("url", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("events", sa.LargeBinary(), nullable=False),
        sa.Column("everyone", sa.Boolean(), nullable=False),
        sa.Column("secret", TEXT, nullable=False),
        sa.Column("old_secret", TEXT),
        sa.Column("old_secret_until", sa.BigInteger()),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", TEXT),
        sa.Column("last_status", INTEGER),
        sa.Column("last_error", TEXT),
        sa.Column("last_at", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notify_webhooks"),
    )
    op.create_index("ix_notify_webhooks_created_at_id", "notify_webhooks", ["created_at", "id"])
    op.create_index(
        "ix_notify_webhooks_owner_created_at_id", "notify_webhooks", ["owner", "created_at", "id"]
    )


def _make_usage() -> None:
    op.create_table(
        "usage_days",
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("service", TEXT, nullable=False),
        sa.Column("currency", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("cached", sa.BigInteger(), nullable=False),
        sa.Column("tokens_in", sa.BigInteger(), nullable=False),
        sa.Column("tokens_out", sa.BigInteger(), nullable=False),
        sa.Column("tokens_saved", sa.BigInteger(), nullable=False),
        sa.Column("spent_micros", sa.BigInteger(), nullable=False),
        sa.Column("saved_micros", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "key_id", "service", "currency", name="pk_usage_days"),
    )
    op.create_index("ix_usage_days_key_id_day", "usage_days", ["key_id", "day"])
    op.create_index("ix_usage_days_owner_day", "usage_days", ["owner", "day"])


def _make_perspective() -> None:
    op.create_table(
        "perspective_curves",
        sa.Column("attribute", TEXT, nullable=False),
        sa.Column("model_version", TEXT, nullable=False),
        sa.Column("curve", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("attribute", "model_version", name="pk_perspective_curves"),
    )
    op.create_table(
        "perspective_suggestions",
        sa.Column("number", INTEGER, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("content_hash", TEXT, nullable=False),
        sa.Column("content", TEXT),
        sa.Column("scores", sa.LargeBinary(), nullable=False),
        sa.Column("model_version", TEXT, nullable=False),
        sa.Column("community", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_perspective_suggestions"),
    )
