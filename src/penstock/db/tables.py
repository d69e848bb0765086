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
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from penstock.db.columns import INTEGER, TEXT

CONVENTION = {
    "pk": "pk_%(table_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
}

metadata = MetaData(naming_convention=CONVENTION)

auth_keys = Table(
    "auth_keys",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("owner", TEXT, nullable=False),
    Column("role", TEXT, nullable=False),
    Column("digest", TEXT, nullable=False),  # SHA-256 of the token, hex; the token is not kept
    Column("prefix", TEXT, nullable=False),  # the token's first characters, to recognise it by
    Column("rate_limit", INTEGER),  # requests a minute; NULL: the server's default, 0: none
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),  # to the minute
    Column("route_limits", TEXT),  # JSON: route -> requests a minute
    Column("budget_micros", BigInteger),  # in a period; NULL: no limit
    Column("budget_tokens", BigInteger),
    Column("budget_period", TEXT),  # day or month
    UniqueConstraint("digest"),
    Index(None, "created_at", "id"),
)

moderation_verdicts = Table(
    "moderation_verdicts",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("owner", TEXT, nullable=False),
    Column("content_hash", TEXT, nullable=False),
    Column("content_key", TEXT, nullable=False),
    Column("score_key", TEXT, nullable=False),
    Column("policy_version", TEXT, nullable=False),
    Column("decision", TEXT, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("risk", Float, nullable=False),  # 0..1
    Column("record", LargeBinary, nullable=False),  # msgpack: scores and findings, never the text
    Column("excerpt_share", Float, nullable=False),  # 0..1
    Column("word_count", INTEGER, nullable=False),
    Column("content", TEXT),  # only where a setting asks for it
    Column("user_id", TEXT),
    Column("created_at", BigInteger, nullable=False),
    Column("key_id", TEXT),  # the API key that asked
    Column("scores", LargeBinary),  # int32 millionths in the order of CATEGORIES, -1: not judged
    Column("is_foreign", Boolean),  # in a language that its judges cannot read
    Column("degraded", TEXT),  # the code of what was missing
    Column("listed", TEXT),  # what a list made of it: rejected, review or approved
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
    Column("id", TEXT, primary_key=True),
    Column("revision", INTEGER, primary_key=True),  # from 1; 0 is the policy of the settings
    Column("version", TEXT, nullable=False),  # of the content
    Column("document", LargeBinary, nullable=False),  # JSON
    Column("note", TEXT, nullable=False),
    Column("created_by", TEXT, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

moderation_activations = Table(
    "moderation_activations",
    metadata,
    Column("number", INTEGER, primary_key=True),  # the highest of a policy is what holds
    Column("policy_id", TEXT, nullable=False),
    Column("revision", INTEGER, nullable=False),
    Column("is_rollback", Boolean, nullable=False),  # takes the activation before it back
    Column("activated_by", TEXT, nullable=False),
    Column("activated_at", BigInteger, nullable=False),
    Index(None, "policy_id", "number"),
)

moderation_assignments = Table(
    "moderation_assignments",
    metadata,
    Column("key_id", TEXT, primary_key=True),
    Column("policy_id", TEXT, nullable=False),
    Column("assigned_at", BigInteger, nullable=False),
)

moderation_lists = Table(
    "moderation_lists",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("kind", TEXT, nullable=False),  # block, allow, review
    Column("key_id", TEXT),  # whose requests it is for; NULL: everyone's
    Column("disguises", Boolean, nullable=False),  # also found disguised
    Column("enabled", Boolean, nullable=False),
    Column("created_by", TEXT, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "created_at", "id"),
)

moderation_entries = Table(
    "moderation_entries",
    metadata,
    Column("id", INTEGER, primary_key=True),
    Column("list_id", TEXT, nullable=False),
    Column("kind", TEXT, nullable=False),  # phrase, wildcard, regex, sha256, pdq, phash
    Column("value", TEXT, nullable=False),
    Column("note", TEXT, nullable=False),
    Column("created_by", TEXT, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("change", INTEGER, nullable=False),  # counts up over all entries: what is new since
    UniqueConstraint("list_id", "kind", "value"),
    Index(None, "change"),
)

review_cases = Table(
    "review_cases",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("state", TEXT, nullable=False),  # open, claimed, escalated, decided
    Column("kind", TEXT, nullable=False),  # review or appeal
    Column("decision", TEXT),  # approved or rejected, once decided
    Column("owner", TEXT, nullable=False),  # of all its items
    Column("assignee", TEXT),  # key id of who claimed it
    Column("risk", Float, nullable=False),  # highest of its items
    Column("category", TEXT),
    Column("reason", TEXT, nullable=False),
    Column("signature", LargeBinary),  # to find near-duplicates by
    Column("similar_to", TEXT),  # a decided case with nearly the same content
    Column("items", INTEGER, nullable=False),
    Column("contents", INTEGER, nullable=False),  # distinct ones among its items
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("claimed_at", BigInteger),
    Column("decided_at", BigInteger),
    Column("decided_by", TEXT),
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
    Column("case_id", TEXT, primary_key=True),
    Column("content_hash", TEXT, primary_key=True),
    Column("risk", Float, nullable=False),
    Column("category", TEXT),
    Column("content", TEXT),  # as long as the policy's retention says
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
    Column("case_id", TEXT, primary_key=True),
)

review_items = Table(
    "review_items",
    metadata,
    Column("verdict_id", TEXT, primary_key=True),
    Column("key_id", TEXT, primary_key=True),  # whose requests the decision is for; "": without
    Column("case_id", TEXT, primary_key=True),  # what was decided may come up again
    Column("owner", TEXT, nullable=False),
    Column("user_id", TEXT),
    Column("content_key", TEXT, nullable=False),
    Column("content_hash", TEXT, nullable=False),
    Column("decision", TEXT, nullable=False),  # what stood until now
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
    Column("number", INTEGER, primary_key=True),
    Column("case_id", TEXT, nullable=False),
    Column("action", TEXT, nullable=False),  # opened, joined, claimed, released, commented, ...
    Column("actor", TEXT, nullable=False),  # key id
    Column("detail", TEXT, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index(None, "case_id", "number"),
)

review_examples = Table(
    "review_examples",
    metadata,
    Column("id", TEXT, primary_key=True),  # what people decided, to replay against a model
    Column("case_id", TEXT, nullable=False),
    Column("content", TEXT),  # NULL: only its hash is known
    Column("content_hash", TEXT, nullable=False),
    Column("category", TEXT),
    Column("was", TEXT, nullable=False),
    Column("decision", TEXT, nullable=False),
    Column("user_id", TEXT),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("content_hash"),
    Index(None, "created_at", "id"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("number", INTEGER, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", TEXT, nullable=False),  # key id, or `cli`
    Column("action", TEXT, nullable=False),  # `policy.activated`
    Column("subject", TEXT, nullable=False),  # id of what was changed
    Column("detail", LargeBinary, nullable=False),  # JSON
    Index(None, "action", "number"),
    Index(None, "actor", "number"),
    Index(None, "subject", "number"),
)

notify_webhooks = Table(
    "notify_webhooks",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("owner", TEXT, nullable=False),
    Column("url", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("events", LargeBinary, nullable=False),  # JSON list
    Column("everyone", Boolean, nullable=False),  # events of all owners, an admin's choice
    Column("secret", TEXT, nullable=False),  # it signs, so it cannot be hashed
    Column("old_secret", TEXT),  # also signs until `old_secret_until`
    Column("old_secret_until", BigInteger),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", TEXT),
    Column("last_status", INTEGER),
    Column("last_error", TEXT),
    Column("last_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "created_at", "id"),
    Index(None, "owner", "created_at", "id"),
)

notify_waiting = Table(
    "notify_waiting",
    metadata,
    Column("number", INTEGER, primary_key=True),  # what a process that stopped could not enqueue
    Column("webhook_id", TEXT, nullable=False),
    Column("owner", TEXT, nullable=False),
    Column("event", LargeBinary, nullable=False),  # JSON
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("day", BigInteger, primary_key=True),  # its first instant
    Column("key_id", TEXT, primary_key=True),
    Column("service", TEXT, primary_key=True),
    Column("currency", TEXT, primary_key=True),
    Column("owner", TEXT, nullable=False),
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

usage_counters = Table(
    "usage_counters",
    metadata,
    Column("day", BigInteger, primary_key=True),  # its first instant
    Column("kind", TEXT, primary_key=True),  # what is counted
    Column("name", TEXT, primary_key=True),  # of what
    Column("value", BigInteger, nullable=False),
)

perspective_curves = Table(
    "perspective_curves",
    metadata,
    Column("attribute", TEXT, primary_key=True),
    Column("model_version", TEXT, primary_key=True),
    Column("curve", LargeBinary, nullable=False),  # JSON: points, and how well they fit
    Column("created_at", BigInteger, nullable=False),
)

perspective_suggestions = Table(
    "perspective_suggestions",
    metadata,
    Column("number", INTEGER, primary_key=True),
    Column("owner", TEXT, nullable=False),
    Column("key_id", TEXT, nullable=False),
    Column("content_hash", TEXT, nullable=False),
    Column("content", TEXT),  # only where a setting asks for it and the caller lets it
    Column("scores", LargeBinary, nullable=False),  # JSON: attribute -> 0..1
    Column("model_version", TEXT, nullable=False),  # that answered at the time
    Column("community", TEXT, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

batch_batches = Table(
    "batch_batches",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("owner", TEXT, nullable=False),
    Column("endpoint", TEXT, nullable=False),
    Column("status", TEXT, nullable=False),  # OpenAI's words
    Column("completion_window", TEXT, nullable=False),
    Column("time_limit", Float),  # seconds of work in one go; NULL: only `expires_at` ends it
    Column("input_file_id", TEXT),
    Column("output_file_id", TEXT),
    Column("error_file_id", TEXT),
    Column("digest", TEXT, nullable=False),  # of the request, to tell a repetition from another
    Column("options", LargeBinary, nullable=False),  # JSON, for the adapter that made it
    Column("metadata", LargeBinary),  # JSON
    Column("errors", LargeBinary),  # JSON: what is wrong with the input file
    Column("total", INTEGER, nullable=False),
    Column("completed", INTEGER, nullable=False),
    Column("failed", INTEGER, nullable=False),
    Column("cached", INTEGER, nullable=False),
    Column("rate", Float, nullable=False),  # items per second, lately
    Column("job_id", TEXT),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("in_progress_at", BigInteger),
    Column("finalizing_at", BigInteger),
    Column("cancelling_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("key_id", TEXT),  # the API key that made it: its policy and lists hold
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
    Column("batch_id", TEXT, primary_key=True),
    Column("number", INTEGER, primary_key=True),  # from 0, in the order of the input
    Column("custom_id", TEXT),
    Column("state", INTEGER, nullable=False),  # 0 waiting, 1 completed, 2 failed
    Column("cached", Boolean, nullable=False),
    Column("body", LargeBinary),  # JSON; NULL once there is an outcome: texts are not kept
    Column("outcome", LargeBinary),  # JSON
)

batch_files = Table(
    "batch_files",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("owner", TEXT, nullable=False),
    Column("purpose", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("size", BigInteger),  # bytes; NULL while it is being uploaded
    Column("batch_id", TEXT),  # of an output: it is made of the batch's items when it is read
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
    Column("file_id", TEXT, primary_key=True),
    Column("number", INTEGER, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)


ROW_NUMBERS = ("moderation_verdicts", "review_cases", "review_contents")
"""The tables whose rows are also found by the order in which they were added.

On SQLite that is the `rowid` of every table; on PostgreSQL these have a column of that name.
"""


def append_only(dialect: str) -> tuple[str, ...]:
    """What guards the audit log from who writes to the database past the server."""
    told = "the audit log is append-only"
    if dialect == "sqlite":
        return tuple(
            f"CREATE TRIGGER audit_entries_no_{verb} BEFORE {verb.upper()} ON audit_entries\n"
            f"BEGIN SELECT RAISE(ABORT, '{told}'); END"
            for verb in ("update", "delete")
        )
    function = (
        "CREATE FUNCTION audit_entries_refuse() RETURNS trigger LANGUAGE plpgsql AS $$\n"
        f"BEGIN RAISE EXCEPTION '{told}' USING ERRCODE = 'integrity_constraint_violation'; END\n$$"
    )
    triggers = (
        f"CREATE TRIGGER audit_entries_no_{verb} BEFORE {verb.upper()} ON audit_entries\n"
        f"FOR EACH {each} EXECUTE FUNCTION audit_entries_refuse()"
        for verb, each in (("update", "ROW"), ("delete", "ROW"), ("truncate", "STATEMENT"))
    )
    return (function, *triggers)


def on_postgresql() -> MetaData:
    """The tables as PostgreSQL has them: those of `ROW_NUMBERS` with their `rowid`."""
    copied = MetaData(naming_convention=CONVENTION)
    for table in metadata.sorted_tables:
        table.to_metadata(copied)
    for name in ROW_NUMBERS:
        copied.tables[name].append_column(Column("rowid", BigInteger, Identity(), nullable=False))
        Index(f"ix_{name}_rowid", copied.tables[name].c.rowid, unique=True)
    return copied


_HEADING = "-- The tables of tables.py, written by `python -m penstock.db.tables`.\n\n"


def ddl(dialect: Dialect) -> str:
    """All tables as SQL: the text of `schema.sql` or `schema_postgresql.sql`."""
    statements = []
    tables = metadata if dialect.name == "sqlite" else on_postgresql()
    for table in tables.sorted_tables:
        statements.append(CreateTable(table).compile(dialect=dialect))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [CreateIndex(index).compile(dialect=dialect) for index in indexes]
    texts = [*map(str, statements), *append_only(dialect.name)]
    lines = "\n".join(f"{text.strip()};\n" for text in texts)
    return (
        _HEADING
        + "\n".join(line.rstrip().replace("\t", "    ") for line in lines.splitlines())
        + "\n"
    )


SCHEMAS = {"schema.sql": sqlite.dialect, "schema_postgresql.sql": postgresql.dialect}

if __name__ == "__main__":
    for file, dialect in SCHEMAS.items():
        Path(__file__).with_name(file).write_text(ddl(dialect()), encoding="utf-8")
