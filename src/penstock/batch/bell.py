"""Wakes those of this process who watch batches; others look every now and then."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Bell:
    """Rings for those who wait for the same batch at that moment."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def ring(self, batch_id: str) -> None:
        """A batch has changed."""
        for waiter in self._waiting.get(batch_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, batch_id: str, seconds: float) -> None:
        """Return at the batch's next ring, or after so many seconds."""
        waiter = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(batch_id, set())
        waiting.add(waiter)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter
        finally:
            waiting.discard(waiter)
            if not waiting:
                self._waiting.pop(batch_id, None)
