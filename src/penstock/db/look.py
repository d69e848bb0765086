"""One look into the database that all who want it share, and wait for only so long.

What is asked in memory on every request is read again when it may have changed. Where the reading
takes long or fails, what is known goes on counting: the look goes on by itself, and requests do not
queue up behind it.

    if ring.stale:              # memory alone
        await ring.refresh()    # Look.share: one for all
    ring.verify(token)          # memory alone
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from penstock.errors import StorageError

PATIENCE: Final = 1.0  # seconds that callers wait for a look
BRIEFLY: Final = 0.05  # the same while looks fail or hang: enough for one that works again


class Look:
    """Calls `read`, once at a time however many ask. Belongs to one event loop."""

    def __init__(self, read: Callable[[], Awaitable[object]], *, patience: float = PATIENCE):
        self._read = read
        self._patience = patience
        self._running: asyncio.Task[bool] | None = None
        self._troubled = False

    async def share(self) -> bool:
        """Look, or join the look that goes on; False where it failed or takes too long.

        What is no StorageError is raised. A caller that goes away stops no look.
        """
        running = self._running
        if running is None:
            running = self._running = asyncio.ensure_future(self._look())
        elif self._troubled:
            return False
        patience = BRIEFLY if self._troubled else self._patience
        await asyncio.wait({running}, timeout=patience)
        if not running.done():
            self._troubled = True
            return False
        return running.result()

    async def aclose(self) -> None:
        """Stop looking."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _look(self) -> bool:
        try:
            await self._read()
        except StorageError:  # who reads says so, where it matters
            self._troubled = True
            return False
        finally:
            self._running = None
        self._troubled = False
        return True
