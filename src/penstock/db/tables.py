"""Every table, under one MetaData: what migrations are compared with.

Names are `<service>_<noun>`; instants are BIGINT milliseconds since 1970, UTC. Importing this
imports SQLAlchemy, which the running server does not need (`schema.sql` is the same as text).
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    }
)

auth_keys = Table(
    "auth_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("digest", Text, nullable=False),  # SHA-256 of the token, hex; the token is not kept
    Column("prefix", Text, nullable=False),  # the token's first characters, to recognise it by
    Column("rate_limit", Integer),  # requests a minute; NULL: the server's default, 0: none
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),  # to the minute
    UniqueConstraint("digest"),
    Index(None, "created_at", "id"),
)

moderation_verdicts = Table(
    "moderation_verdicts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("content_key", Text, nullable=False),
    Column("score_key", Text, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("risk", Float, nullable=False),  # 0..1
    Column("record", LargeBinary, nullable=False),  # msgpack: scores and findings, never the text
    Column("excerpt_share", Float, nullable=False),  # 0..1
    Column("word_count", Integer, nullable=False),
    Column("content", Text),  # only where a setting asks for it
    Column("user_id", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("key_id", Text),  # the API key that asked
    Column("scores", LargeBinary),  # int32 millionths in the order of CATEGORIES, -1: not judged
    Column("is_foreign", Boolean),  # in a language that its judges cannot read
    Column("degraded", Text),  # the code of what was missing
    Column("listed", Text),  # what a list made of it: rejected, review or approved
    Index(None, "created_at", "id"),
    Index(None, "owner", "created_at", "id"),
    Index(
        None,
        "user_id",
        sqlite_where=text("user_id IS NOT NULL"),
        postgresql_where=text("user_id IS NOT NULL"),
    ),
)

moderation_policies = Table(
    "moderation_policies",
    metadata,
    Column("id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),  # from 1; 0 is the policy of the settings
    Column("version", Text, nullable=False),  # of the content
    Column("document", LargeBinary, nullable=False),  # JSON
    Column("note", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

moderation_activations = Table(
    "moderation_activations",
    metadata,
    Column("number", Integer, primary_key=True),  # the highest of a policy is what holds
    Column("policy_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("is_rollback", Boolean, nullable=False),  # takes the activation before it back
    Column("activated_by", Text, nullable=False),
    Column("activated_at", BigInteger, nullable=False),
    Index(None, "policy_id", "number"),
)

moderation_assignments = Table(
    "moderation_assignments",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("policy_id", Text, nullable=False),
    Column("assigned_at", BigInteger, nullable=False),
)

moderation_lists = Table(
    "moderation_lists",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),  # block, allow, review
    Column("key_id", Text),  # whose requests it is for; NULL: everyone's
    Column("disguises", Boolean, nullable=False),  # also found disguised
    Column("enabled", Boolean, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "created_at", "id"),
)

moderation_entries = Table(
    "moderation_entries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("list_id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # phrase, wildcard, regex, sha256, pdq, phash
    Column("value", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("change", Integer, nullable=False),  # counts up over all entries: what is new since
    UniqueConstraint("list_id", "kind", "value"),
    Index(None, "change"),
)

review_cases = Table(
    "review_cases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),  # open, claimed, escalated, decided
    Column("kind", Text, nullable=False),  # review or appeal
    Column("decision", Text),  # approved or rejected, once decided
    Column("owner", Text, nullable=False),  # of all its items
    Column("assignee", Text),  # key id of who claimed it
    Column("risk", Float, nullable=False),  # highest of its items
    Column("category", Text),
    Column("reason", Text, nullable=False),
    Column("signature", LargeBinary),  # to find near-duplicates by
    Column("similar_to", Text),  # a decided case with nearly the same content
    Column("items", Integer, nullable=False),
    Column("contents", Integer, nullable=False),  # distinct ones among its items
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("claimed_at", BigInteger),
    Column("decided_at", BigInteger),
    Column("decided_by", Text),
    Column("settled_at", BigInteger),  # when all that follows from the decision was done
    Index(None, "created_at", "id"),
    Index(None, "decided_at", "id"),
    Index(
        "ix_review_cases_live",
        "due_at",
        "id",
        sqlite_where=text("decided_at IS NULL"),
        postgresql_where=text("decided_at IS NULL"),
    ),
    Index(
        "ix_review_cases_appeals",
        "owner",
        sqlite_where=text("decided_at IS NULL AND kind = 'appeal'"),
        postgresql_where=text("decided_at IS NULL AND kind = 'appeal'"),
    ),
)

review_contents = Table(
    "review_contents",
    metadata,
    Column("case_id", Text, primary_key=True),
    Column("content_hash", Text, primary_key=True),
    Column("risk", Float, nullable=False),
    Column("category", Text),
    Column("content", Text),  # as long as the policy's retention says
    Column("content_until", BigInteger),  # stays when the content is gone: it was kept once
    Column("created_at", BigInteger, nullable=False),
    Index(
        None,
        "content_until",
        sqlite_where=text("content IS NOT NULL"),
        postgresql_where=text("content IS NOT NULL"),
    ),
)

review_bands = Table(
    "review_bands",
    metadata,
    Column("band", BigInteger, primary_key=True),  # a part of a signature, of an owner
    Column("case_id", Text, primary_key=True),
)

review_items = Table(
    "review_items",
    metadata,
    Column("verdict_id", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),  # whose requests the decision is for; "": without
    Column("case_id", Text, primary_key=True),  # what was decided may come up again
    Column("owner", Text, nullable=False),
    Column("user_id", Text),
    Column("content_key", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("decision", Text, nullable=False),  # what stood until now
    Column("created_at", BigInteger, nullable=False),
    Column("appealed_at", BigInteger),
    Index(None, "case_id", "created_at", "verdict_id"),
    Index(None, "content_hash", "owner"),
    Index(
        None,
        "user_id",
        sqlite_where=text("user_id IS NOT NULL"),
        postgresql_where=text("user_id IS NOT NULL"),
    ),
)

review_events = Table(
    "review_events",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("case_id", Text, nullable=False),
    Column("action", Text, nullable=False),  # opened, joined, claimed, released, commented, ...
    Column("actor", Text, nullable=False),  # key id
    Column("detail", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index(None, "case_id", "number"),
)

review_examples = Table(
    "review_examples",
    metadata,
    Column("id", Text, primary_key=True),  # what people decided, to replay against a model
    Column("case_id", Text, nullable=False),
    Column("content", Text),  # NULL: only its hash is known
    Column("content_hash", Text, nullable=False),
    Column("category", Text),
    Column("was", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("user_id", Text),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("content_hash"),
    Index(None, "created_at", "id"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),  # key id, or `cli`
    Column("action", Text, nullable=False),  # `policy.activated`
    Column("subject", Text, nullable=False),  # id of what was changed
    Column("detail", LargeBinary, nullable=False),  # JSON
    Index(None, "action", "number"),
    Index(None, "actor", "number"),
    Index(None, "subject", "number"),
)

notify_webhooks = Table(
    "notify_webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("events", LargeBinary, nullable=False),  # JSON list
    Column("everyone", Boolean, nullable=False),  # events of all owners, an admin's choice
    Column("secret", Text, nullable=False),  # it signs, so it cannot be hashed
    Column("old_secret", Text),  # also signs until `old_secret_until`
    Column("old_secret_until", BigInteger),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", Text),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("last_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "created_at", "id"),
    Index(None, "owner", "created_at", "id"),
)

notify_waiting = Table(
    "notify_waiting",
    metadata,
    Column("number", Integer, primary_key=True),  # what a process that stopped could not enqueue
    Column("webhook_id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("event", LargeBinary, nullable=False),  # JSON
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("day", BigInteger, primary_key=True),  # its first instant
    Column("key_id", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("cached", BigInteger, nullable=False),
    Column("tokens_in", BigInteger, nullable=False),
    Column("tokens_out", BigInteger, nullable=False),
    Column("tokens_saved", BigInteger, nullable=False),
    Column("spent_micros", BigInteger, nullable=False),
    Column("saved_micros", BigInteger, nullable=False),
    Index(None, "key_id", "day"),
    Index(None, "owner", "day"),
)

perspective_curves = Table(
    "perspective_curves",
    metadata,
    Column("attribute", Text, primary_key=True),
    Column("model_version", Text, primary_key=True),
    Column("curve", LargeBinary, nullable=False),  # JSON: points, and how well they fit
    Column("created_at", BigInteger, nullable=False),
)

perspective_suggestions = Table(
    "perspective_suggestions",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("content", Text),  # only where a setting asks for it and the caller lets it
    Column("scores", LargeBinary, nullable=False),  # JSON: attribute -> 0..1
    Column("model_version", Text, nullable=False),  # that answered at the time
    Column("community", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

batch_batches = Table(
    "batch_batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("status", Text, nullable=False),  # OpenAI's words
    Column("completion_window", Text, nullable=False),
    Column("time_limit", Float),  # seconds of work in one go; NULL: only `expires_at` ends it
    Column("input_file_id", Text),
    Column("output_file_id", Text),
    Column("error_file_id", Text),
    Column("digest", Text, nullable=False),  # of the request, to tell a repetition from another
    Column("options", LargeBinary, nullable=False),  # JSON, for the adapter that made it
    Column("metadata", LargeBinary),  # JSON
    Column("errors", LargeBinary),  # JSON: what is wrong with the input file
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("cached", Integer, nullable=False),
    Column("rate", Float, nullable=False),  # items per second, lately
    Column("job_id", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("in_progress_at", BigInteger),
    Column("finalizing_at", BigInteger),
    Column("cancelling_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("key_id", Text),  # the API key that made it: its policy and lists hold
    Index(None, "created_at", "id"),
    Index(None, "owner", "created_at", "id"),
    Index(
        "ix_batch_batches_live",
        "id",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),  # from 0, in the order of the input
    Column("custom_id", Text),
    Column("state", Integer, nullable=False),  # 0 waiting, 1 completed, 2 failed
    Column("cached", Boolean, nullable=False),
    Column("body", LargeBinary),  # JSON; NULL once there is an outcome: texts are not kept
    Column("outcome", LargeBinary),  # JSON
)

batch_files = Table(
    "batch_files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("size", BigInteger),  # bytes; NULL while it is being uploaded
    Column("batch_id", Text),  # of an output: it is made of the batch's items when it is read
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index(None, "created_at", "id"),
    Index(None, "owner", "created_at", "id"),
    Index(
        None,
        "batch_id",
        sqlite_where=text("batch_id IS NOT NULL"),
        postgresql_where=text("batch_id IS NOT NULL"),
    ),
)

batch_chunks = Table(
    "batch_chunks",
    metadata,
    Column("file_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)


APPEND_ONLY = tuple(
    f"CREATE TRIGGER audit_entries_no_{verb} BEFORE {verb.upper()} ON audit_entries\n"
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    for verb in ("update", "delete")
)
"""SQLite's guards of the audit log, for who writes to the file past the server."""

_HEADING = "-- The tables of tables.py, written by `python -m penstock.db.tables`.\n\n"


def ddl() -> str:
    """All tables as SQLite's SQL: the text of `schema.sql`."""
    dialect = sqlite.dialect()
    statements = []
    for table in metadata.sorted_tables:
        statements.append(CreateTable(table).compile(dialect=dialect))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [CreateIndex(index).compile(dialect=dialect) for index in indexes]
    texts = [*map(str, statements), *APPEND_ONLY]
    lines = "\n".join(f"{text.strip()};\n" for text in texts)
    return (
        _HEADING
        + "\n".join(line.rstrip().replace("\t", "    ") for line in lines.splitlines())
        + "\n"
    )


if __name__ == "__main__":
    Path(__file__).with_name("schema.sql").write_text(ddl(), encoding="utf-8")
