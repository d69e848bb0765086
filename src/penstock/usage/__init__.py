"""The ledger: calls, tokens and money, spent and saved, per day, key and service; and statistics.

    add (memory) ── 50 ms after the first ──> one transaction that adds to the rows of the day
                                         └──> one batch of statistics, to Redis or the database

Counting costs an answer no I/O. A process that is killed loses what it counted in the last 50 ms or
so; one that stops loses nothing. `Budgets` says when a key has spent what it may.
"""

from penstock.usage.budget_store import BudgetStore
from penstock.usage.budgets import Budget, Budgets
from penstock.usage.counter_store import CounterStore
from penstock.usage.counters import Counters, HubCounters
from penstock.usage.ledger import Outcome, Usage
from penstock.usage.statistics import Statistics
from penstock.usage.store import UsageFilter, UsageRow

__all__ = [
    "Budget",
    "BudgetStore",
    "Budgets",
    "CounterStore",
    "Counters",
    "HubCounters",
    "Outcome",
    "Statistics",
    "Usage",
    "UsageFilter",
    "UsageRow",
]
