"""Keeping: what is stored and asked for again, in one SQL database.

The hot paths run written-out SQL on sqlite3 and never import SQLAlchemy, which costs 0.5 s and 16
MB at start-up; SQLAlchemy Core describes the tables, and its statements are accepted everywhere
that plain SQL is.
"""

from penstock.db.engine import Database, DatabaseHealth, open_database

__all__ = ["Database", "DatabaseHealth", "open_database"]
