"""Lets requests go first while a batch computes on the same event loop.

An item costs the loop up to a millisecond, and a request crosses the loop several times. So after
every slice of work the batch steps aside, and stays aside while the loop has others to serve.
"""

from __future__ import annotations

import asyncio
from typing import Final

from penstock.clock import Clock

SLICE: Final = 0.0005  # seconds of work between two looks
BUSY: Final = 0.0001  # a trip around the loop that takes longer had others in it
ASIDE: Final = 0.002  # seconds to stay away from a busy loop
PATIENCE: Final = 5  # times in a row, after which an item goes ahead all the same


class Pace:
    """One batch's manners; for one worker at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()

    async def turn(self) -> None:
        """Wait until another item may begin."""
        if self._clock.monotonic() - self._since < SLICE:
            return
        for _ in range(PATIENCE):
            before = self._clock.monotonic()
            await asyncio.sleep(0)
            if self._clock.monotonic() - before < BUSY:
                break
            await self._clock.sleep(ASIDE)
        self._since = self._clock.monotonic()
