"""How many calls a provider gets at once: found by trying, as TCP finds its window.

Additive increase, multiplicative decrease (Chiu and Jain 1989). A provider's rate limit is rarely
known beforehand and changes; its 429s and time-outs are the only signal.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from penstock.errors import ProviderThrottled


class AdaptiveLimit:
    """A semaphore whose size, `highest` at first, follows how the provider copes.

    Waiters are served in their order. For one event loop.
    """

    def __init__(self, *, highest: int, max_waiting: int) -> None:
        self.in_use = 0
        self._limit = float(highest)
        self._highest = highest
        self._max_waiting = max_waiting
        self._round = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many calls may be out at present."""
        return int(self._limit)

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._waiting)

    async def acquire(self) -> int:
        """Wait for a turn and return its round. Raises ProviderThrottled when too many wait."""
        if self.in_use < self.limit and not self._waiting:
            self.in_use += 1
            return self._round
        if len(self._waiting) >= self._max_waiting:
            raise ProviderThrottled(
                f"{len(self._waiting)} calls wait for the provider already", retry_after=1.0
            )
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the turn came in the same moment: hand it on
            else:
                with suppress(ValueError):
                    self._waiting.remove(turn)
            raise
        return self._round

    def release(self) -> None:
        """Give the turn back."""
        self.in_use -= 1
        self._admit()

    def grow(self) -> None:
        """A call went well: one more at a time, after a whole round of them."""
        if self.in_use * 2 >= self._limit:  # an unused limit proves nothing
            self._limit = min(self._highest, self._limit + 1 / self._limit)
            self._admit()

    def shrink(self, *, of: int) -> None:
        """A call of round `of` was throttled or timed out: half as many at a time.

        Once per round: calls that were out when the limit shrank say nothing about its new size.
        """
        if of == self._round:
            self._limit = max(1.0, self._limit / 2)
            self._round += 1

    def _admit(self) -> None:
        while self._waiting and self.in_use < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_use += 1
                turn.set_result(None)
