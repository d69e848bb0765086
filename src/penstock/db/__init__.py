"""Keeping: what is stored and asked for again, in one SQL database.

SQLite embedded, PostgreSQL when several machines share it; what is written for one runs on the
other (`penstock.db.database`). The hot paths run written-out SQL and never import SQLAlchemy, which
costs 0.5 s and 16 MB at start-up: SQLAlchemy describes the tables and Alembic changes them.
"""

from penstock.db.database import Database, DatabaseHealth
from penstock.db.engine import open_database

__all__ = ["Database", "DatabaseHealth", "open_database"]
