"""How many items are worked on at once: the setting at first, fewer while they meet resistance.

Additive increase, multiplicative decrease (Chiu and Jain 1989), as `providers/concurrency.py` does
for calls. Here it narrows a batch, so that single requests find the provider less busy.
"""

from __future__ import annotations

import asyncio


class Width:
    """The number of workers that may take an item; for one event loop."""

    def __init__(self, widest: int) -> None:
        self._widest = widest
        self._width = float(widest)
        self._wider = asyncio.Event()
        self.round = 0

    @property
    def now(self) -> int:
        """How many may work at present."""
        return int(self._width)

    def grow(self) -> None:
        """An item went well: one more at a time, after a whole round of them."""
        if self._width < self._widest:
            self._width = min(self._widest, self._width + 1 / self._width)
            self.wake()

    def shrink(self, *, of: int) -> None:
        """An item that began in round `of` was throttled or timed out: half as many at a time."""
        if of == self.round:  # those that began before the last change say nothing about it
            self._width = max(1.0, self._width / 2)
            self.round += 1

    async def changed(self) -> None:
        """Return when the width has grown, or there is nothing left to do."""
        await self._wider.wait()

    def wake(self) -> None:
        """Let those that wait look again."""
        self._wider.set()
        self._wider = asyncio.Event()
