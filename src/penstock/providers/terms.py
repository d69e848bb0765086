"""The terms on which a provider over HTTP is used: how long it may take, and what it costs."""

from __future__ import annotations

import msgspec


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that one call may take."""

    connect: float = 2.0
    read: float = 15.0  # between two pieces of an answer
    total: float = 20.0  # the whole call: ends an answer that trickles in, which `read` does not


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Micro-units of the currency for a million tokens: 150_000 is USD 0.15."""

    input_micros: int = 0
    output_micros: int = 0
    currency: str = "USD"

    def of(self, tokens_in: int, tokens_out: int) -> int:
        """Micro-units, rounded up: what was paid for is never shown as free."""
        return -(-(tokens_in * self.input_micros + tokens_out * self.output_micros) // 1_000_000)
