"""One at a time for each key: a key that has much to do cannot take all the threads there are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Lets each key do one thing at a time."""

    def __init__(self) -> None:
        self._locks: dict[str | None, asyncio.Lock] = {}
        self._waiting = Counter[str | None]()

    @asynccontextmanager
    async def of(self, key: str | None) -> AsyncIterator[None]:
        """Wait for the turn of a key."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._waiting[key] += 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key], self._locks[key]

    async def run(self, key: str | None, call: Callable[[], T]) -> T:
        """Run something in a thread when it is the turn of a key.

        The turn lasts as long as the thread does: who goes away early frees none.
        """
        async with self.of(key):
            running = asyncio.ensure_future(asyncio.to_thread(call))
            try:
                return await asyncio.shield(running)
            finally:
                if not running.done():
                    await asyncio.wait([running])
