"""Time and chance in one place: a test hands in its own clock and waits for nothing."""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    """What the client needs of time."""

    def now(self) -> float:
        """Seconds since 1970, for dates in headers."""

    def monotonic(self) -> float:
        """Seconds that never go back, for deadlines."""

    def random(self) -> float:
        """0 <= x < 1, for the jitter of retries."""

    def sleep(self, seconds: float) -> None:
        """Wait, holding the thread."""

    async def sleep_async(self, seconds: float) -> None:
        """Wait, holding nobody."""


class SystemClock:
    """The machine's time."""

    def now(self) -> float:
        return time.time()  # noqa: TID251 - this is the clock

    def monotonic(self) -> float:
        return time.monotonic()

    def random(self) -> float:
        return random.random()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: TID251 - the caller asked to wait in its own thread

    async def sleep_async(self, seconds: float) -> None:
        import asyncio  # 50 ms that a synchronous program need not pay

        await asyncio.sleep(seconds)
