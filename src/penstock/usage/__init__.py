"""The ledger: calls, tokens and money, spent and saved, per day, key and service.

    add (memory) ── 50 ms after the first ──> one transaction that adds to the rows of the day

Counting costs an answer no I/O. A process that is killed loses what it counted in the last 50 ms or
so; one that stops loses nothing. Money is reported here, not limited.
"""

from penstock.usage.ledger import Usage
from penstock.usage.store import UsageFilter, UsageRow

__all__ = ["Usage", "UsageFilter", "UsageRow"]
