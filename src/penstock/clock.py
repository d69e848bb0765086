"""Time as a part that is handed over, so that tests can move it.

`now` is wall time (seconds since 1970, UTC) for what is stored; `monotonic` measures durations and
deadlines.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Protocol

from penstock.errors import ConfigurationError

Seconds = float | str  # a number, or words like "90s", "10m", "1h30m"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)  # noqa: TID251 - the one place that may
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to; sleepers wake when it passes their time."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self._elapsed + seconds, woken))
        await woken.wait()

    def advance(self, seconds: float) -> None:
        """Move time forward and wake whoever slept until then."""
        self._elapsed += seconds
        due = [event for at, event in self._sleepers if at <= self._elapsed]
        self._sleepers = [(at, event) for at, event in self._sleepers if at > self._elapsed]
        for event in due:
            event.set()


def seconds(duration: Seconds) -> float:
    """Read a number of seconds, or words like "90s", "10m", "1h30m", "7d".

    >>> seconds("1h30m")
    5400.0
    """
    if not isinstance(duration, str):
        return float(duration)
    text = duration.replace(" ", "").lower()
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigurationError(
            f"{duration!r} is not a duration; write seconds as a number, or '90s', '10m', '1h30m'"
        )
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
