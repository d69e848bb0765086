"""One object for each event loop that asks, closed with its loop.

A connection belongs to the loop that opened it, while a store or a hub serves any loop. A task on
each loop holds what was opened there: `asyncio.run` cancels it when the loop ends, and it cleans up
while the loop still runs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """`get()` makes the running loop's own; `aclose()` closes all."""

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[object]]) -> None:
        self._make = make
        self._close = close
        self._held: dict[asyncio.AbstractEventLoop, tuple[T, asyncio.Task[None]]] = {}
        self._lock = threading.Lock()

    def get(self) -> T:
        """The running loop's."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is not None:
            return held[0]
        made = self._make()
        with self._lock:
            self._held[loop] = made, loop.create_task(self._hold(loop), name="penstock-held")
        return made

    def all(self) -> list[T]:
        """Those of every loop, of the moment."""
        with self._lock:
            return [made for made, _ in self._held.values()]

    async def aclose(self) -> None:
        """Close the running loop's own, and have other loops close theirs."""
        running = asyncio.get_running_loop()
        with self._lock:
            held = dict(self._held)
        for loop, (_, task) in held.items():
            if loop is running:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await self._let_go(loop)  # where the task had not even begun
            elif not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

    async def _hold(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await loop.create_future()
        finally:
            await self._let_go(loop)

    async def _let_go(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            held = self._held.pop(loop, None)
        if held is not None:
            await self._close(held[0])
