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
    Index(None, "created_at", "id"),
    Index(None, "owner", "created_at", "id"),
    Index(
        None,
        "user_id",
        sqlite_where=text("user_id IS NOT NULL"),
        postgresql_where=text("user_id IS NOT NULL"),
    ),
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


_HEADING = "-- The tables of tables.py, written by `python -m penstock.db.tables`.\n\n"


def ddl() -> str:
    """All tables as SQLite's SQL: the text of `schema.sql`."""
    dialect = sqlite.dialect()
    statements = []
    for table in metadata.sorted_tables:
        statements.append(CreateTable(table).compile(dialect=dialect))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [CreateIndex(index).compile(dialect=dialect) for index in indexes]
    lines = "\n".join(f"{str(statement).strip()};\n" for statement in statements)
    return (
        _HEADING
        + "\n".join(line.rstrip().replace("\t", "    ") for line in lines.splitlines())
        + "\n"
    )


if __name__ == "__main__":
    Path(__file__).with_name("schema.sql").write_text(ddl(), encoding="utf-8")
