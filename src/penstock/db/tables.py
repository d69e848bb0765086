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
