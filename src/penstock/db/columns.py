"""The column types that the two databases spell differently, for tables and migrations."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, Text
from sqlalchemy.dialects import postgresql

TEXT = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Text that sorts by its code points, as SQLite sorts."""

INTEGER = Integer().with_variant(BigInteger(), "postgresql")
"""A whole number of up to 64 bits: SQLite numbers rows by an INTEGER alone."""
