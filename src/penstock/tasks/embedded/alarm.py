"""Calls back at a time that can be brought forward."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.clock import Clock


class Alarm:
    """One call at the earliest of the times that were set, on the clock's monotonic time."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._at: float | None = None
        self._waiting: asyncio.Task[None] | None = None

    def set(self, at: float) -> None:
        """Ring at `at`, unless it rings before."""
        if self._at is not None and self._at <= at:
            return
        self.close()
        self._at = at
        self._waiting = asyncio.ensure_future(self._wait(at))

    def close(self) -> None:
        """Do not ring."""
        self._at = None
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    async def _wait(self, at: float) -> None:
        while (left := at - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)
        self._at = self._waiting = None
        self._ring()
