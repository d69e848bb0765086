"""Leases and slots within one process, for a hub that has nobody else to ask."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class LocalLease:
    """See Lease. It ends with its release or with its process, not by time."""

    shared = False

    def __init__(self, name: str, give_back: Callable[[], None] | None = None) -> None:
        self.name = name
        self._give_back = give_back
        self._held = True

    async def extend(self, seconds: float) -> bool:
        return self._held

    async def release(self) -> bool:
        held, self._held = self._held, False
        if held and self._give_back is not None:
            self._give_back()
        return held


class Places:
    """Counting semaphores by name; who waits is served in the order of coming."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, name: str, *, limit: int, wait: float) -> LocalLease | None:
        """A lease, or None when all are taken for as long as `wait`."""
        taken = self._taken.get(name, 0)
        if taken >= limit:
            if wait <= 0 or not await self._turn(name, wait):
                return None
        else:
            self._taken[name] = taken + 1
        return LocalLease(name, lambda: self._free(name))

    async def _turn(self, name: str, wait: float) -> bool:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._waiting.setdefault(name, deque())
        line.append(turn)
        try:
            async with asyncio.timeout(wait):
                await turn
            return True
        except TimeoutError:
            return turn.done() and not turn.cancelled()  # it may have come in the same moment
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free(name)  # the place came in the same moment: hand it on
            raise
        finally:
            with suppress(ValueError):
                line.remove(turn)

    def _free(self, name: str) -> None:
        """Hand the place to the next in line, or have one less taken."""
        line = self._waiting.get(name, deque())
        while line:
            turn = line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._waiting.pop(name, None)
        self._taken[name] -= 1
        if not self._taken[name]:
            del self._taken[name]
