"""Lets requests go first while a batch computes on the same event loop.

An item costs the loop half a millisecond, and a request crosses the loop several times. So after
every slice of work the batch steps aside; while the loop has others to serve it stays away, longer
each time, and goes ahead in the end all the same.
"""

from __future__ import annotations

import asyncio
from typing import Final

from penstock.clock import Clock

SLICE: Final = 0.0005  # seconds of work between two looks
BUSY: Final = 0.0001  # a trip around the loop that takes longer had others in it
ASIDE: Final = 0.002  # seconds to stay away from a busy loop; doubles with each look
IN_BACKGROUND: Final = 6  # looks in a row, an eighth of a second, before an item goes ahead
AWAITED: Final = 2  # the same while somebody waits for the batch


class Pace:
    """One batch's manners; for one worker at a time."""

    def __init__(self, clock: Clock, *, patience: int = IN_BACKGROUND) -> None:
        self._clock = clock
        self._patience = patience
        self._since = clock.monotonic()

    async def turn(self) -> None:
        """Wait until another item may begin."""
        if self._clock.monotonic() - self._since < SLICE:
            return
        for look in range(self._patience):
            before = self._clock.monotonic()
            await asyncio.sleep(0)
            if self._clock.monotonic() - before < BUSY:
                break
            await self._clock.sleep(ASIDE * 2**look)
        self._since = self._clock.monotonic()
