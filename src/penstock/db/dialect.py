"""What SQLite and PostgreSQL write differently: small pieces for the SQL of stores.

    self._find = f"... WHERE id IN ({values_of(database.dialect, ':ids', 'text')})"

Chosen once, in a store's constructor. `least` and `greatest` are PostgreSQL's names for what SQLite
calls `min` and `max` of several values.
"""

from __future__ import annotations

from typing import Literal

from penstock.db.database import Dialect

Kind = Literal["text", "bigint"]


def least(dialect: Dialect, *values: str) -> str:
    """The smallest of several values in one row; none of them may be NULL."""
    return f"{'min' if dialect == 'sqlite' else 'least'}({', '.join(values)})"


def each(dialect: Dialect, parameter: str, kind: Kind = "text") -> str:
    """A table in FROM with one column `value`, of a parameter that is a JSON list as text."""
    if dialect == "sqlite":
        return f"json_each({parameter})"
    return (
        f"(SELECT CAST(value AS {kind}) AS value "
        f"FROM json_array_elements_text(CAST({parameter} AS json)) AS listed (value))"
    )


def values_of(dialect: Dialect, parameter: str, kind: Kind = "text") -> str:
    """What stands in `IN (...)` for a parameter that is a JSON list as text."""
    alias = "" if dialect == "sqlite" else " AS given"
    return f"SELECT value FROM {each(dialect, parameter, kind)}{alias}"
