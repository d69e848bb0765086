"""The terms on which a provider over HTTP is used: how long it may take, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from penstock.errors import ConfigurationError


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that one call may take."""

    connect: float = 2.0
    read: float = 15.0  # between two pieces of an answer
    total: float = 20.0  # the whole call: ends an answer that trickles in, which `read` does not

    def override(self, own: Mapping[str, float]) -> Timeouts:
        """These, except those that `own` names."""
        return msgspec.structs.replace(self, **own)


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Micro-units of the currency for a million tokens: 150_000 is USD 0.15."""

    input_micros: int = 0
    output_micros: int = 0
    currency: str = "USD"

    def of(self, tokens_in: int, tokens_out: int) -> int:
        """Micro-units, rounded up: what was paid for is never shown as free."""
        return -(-(tokens_in * self.input_micros + tokens_out * self.output_micros) // 1_000_000)


def take_timeouts(query: dict[str, str]) -> dict[str, float]:
    """Take its own time-outs out of a provider URL's parameters: fields of `Timeouts`.

    Raises ConfigurationError, whose message does not repeat the value: it may be a lost secret.
    """
    names = {"timeout": "total", "connect_timeout": "connect", "read_timeout": "read"}
    return {
        field: _seconds(name, query.pop(name)) for name, field in names.items() if name in query
    }


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds < math.inf:
        raise ConfigurationError(f"{name} in a provider URL is a number of seconds above 0")
    return seconds
