"""What keys may spend, as it is on record: for who knows a key by its id alone."""

from __future__ import annotations

from typing import Final

from penstock.db import Database
from penstock.usage.budgets import Budget, Period

_FIND: Final = "SELECT budget_micros, budget_tokens, budget_period FROM auth_keys WHERE id = ?"


class BudgetStore:
    """Reads the budgets of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def budget(self, key_id: str) -> Budget | None:
        """The budget of a key; None without one, and for a key that is not on record."""
        row = await self._database.row(_FIND, (key_id,))
        if row is None or (row[0] is None and row[1] is None):
            return None
        period: Period = "day" if row[2] == "day" else "month"
        return Budget(row[0], row[1], period)
