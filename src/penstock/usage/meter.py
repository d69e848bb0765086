"""What one key spent in this process, and how much of that the ledger has on record."""

from __future__ import annotations

from collections import Counter
from typing import Final

TOKENS: Final = ""  # counted beside the currencies, which all have a name


class Meter:
    """Sums since the meter began; the key of a sum is a currency, or `TOKENS`."""

    __slots__ = ("counted", "written")

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.written: Counter[str] = Counter()

    def count(self, currency: str, micros: int, tokens: int) -> None:
        """Add what a call cost."""
        self.counted[currency] += micros
        self.counted[TOKENS] += tokens

    def settle(self, currency: str, micros: int, tokens: int) -> None:
        """Note that the ledger has it."""
        self.written[currency] += micros
        self.written[TOKENS] += tokens
