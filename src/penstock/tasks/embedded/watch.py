"""Tells who watches a job that it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Watches:
    """Who watches which job in this process."""

    def __init__(self) -> None:
        self.by_number: dict[int, set[Watch]] = {}

    @contextmanager
    def on(self, number: int) -> Iterator[Watch]:
        """A watch on a job."""
        watch = Watch(number)
        self.by_number.setdefault(number, set()).add(watch)
        try:
            yield watch
        finally:
            left = self.by_number[number]
            left.discard(watch)
            if not left:
                del self.by_number[number]

    def close(self) -> None:
        """Wake everybody: there is nothing more to come."""
        for number in tuple(self.by_number):
            self.changed(number)

    def changed(self, number: int) -> None:
        """Tell of a change; on the engine's loop."""
        for watch in tuple(self.by_number.get(number, ())):
            watch.tell()


class Watch:
    """One waiter; on any loop."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Wake it."""
        if self._loop is _running():
            self._changed.set()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def change(self) -> None:
        """Return when the job may have changed since the last time."""
        await self._changed.wait()
        self._changed.clear()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
