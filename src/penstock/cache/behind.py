"""Write-behind for a tier behind a network: what is computed is written after it was answered.

    fetch ── add ──┐
    fetch ── add ──┼── while the write before is on its way ──► one write for all
    fetch ── add ──┘

The first entry is written at once, in a task; what comes meanwhile waits for it and goes out
together. So there is no timer, and the busier the server, the larger the writes. What finds no room
is lost and counted: it can be computed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from penstock.cache.entry import Entry
from penstock.cache.store import Mark

TOGETHER: Final = 100  # entries of one write: packing them takes about 1 ms of the loop's time
MOST: Final = 2_000  # entries that wait
MOST_BYTES: Final = 16 << 20
FLUSH_SECONDS: Final = 2.0  # for what waits when the cache is closed, or a thread waits for it

Then = Callable[[], Awaitable[None]]


class Waiting(NamedTuple):
    """An entry on its way; None where it was withdrawn."""

    entry: Entry | None
    mark: Mark
    then: Then | None  # called when it was written, or could not be


class Behind:
    """What waits on one event loop."""

    def __init__(self, write: Callable[[Sequence[tuple[Entry, Mark]]], Awaitable[None]]) -> None:
        self.dropped = 0
        self._write = write
        self._waiting: dict[str, Waiting] = {}
        self._bytes = 0
        self._flushes = 0
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, entries: Sequence[tuple[Entry, Mark]], then: Then | None = None) -> None:
        """Have these written; `then` is called when all of them were, or none could be."""
        for at, (entry, mark) in enumerate(entries, 1):
            told = then if at == len(entries) else None
            before = self._waiting.get(entry.key)  # whose place it takes
            if before is not None:
                self._bytes -= before.entry.size if before.entry is not None else 0
                told = _both(before.then, told)
            kept: Entry | None = entry
            count = len(self._waiting) - (before is not None)
            if count >= MOST or self._bytes + entry.size > MOST_BYTES:
                self.dropped += 1
                kept = None
            if kept is not None or told is not None:
                self._waiting[entry.key] = Waiting(kept, mark, told)
                self._bytes += 0 if kept is None else entry.size
            elif before is not None:
                del self._waiting[entry.key]
        if self._waiting and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())

    def withdraw(self, meant: Callable[[str], object]) -> None:
        """Take back what is meant and not on its way yet; from any thread."""
        waiting = self._waiting
        for key in [key for key in list(waiting) if meant(key)]:
            item = waiting.get(key)
            if item is not None and item.entry is not None:
                waiting[key] = item._replace(entry=None)
                self._bytes -= item.entry.size

    async def flush(self) -> None:
        """Return when what waits now was written, or could not be; not what is added meanwhile."""
        task = self._task
        if task is None:
            return
        written = asyncio.Event()

        async def then() -> None:
            written.set()

        self._flushes += 1
        self._waiting[f"\0{self._flushes}"] = Waiting(None, b"", then)  # no key of an entry
        waits = asyncio.ensure_future(written.wait())
        try:
            await asyncio.wait([task, waits], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waits.cancel()

    async def aclose(self) -> None:
        """Write what waits, for a moment; the rest is lost."""
        task = self._task
        if task is None:
            return
        await asyncio.wait([task], timeout=FLUSH_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.dropped += sum(item.entry is not None for item in self._waiting.values())
        self._waiting = {}

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch = dict(islice(self._waiting.items(), TOGETHER))
                self._waiting = dict(islice(self._waiting.items(), TOGETHER, None))
                self._bytes -= sum(item.entry.size for item in batch.values() if item.entry)
                await self._write_one(list(batch.values()))
        finally:
            self._task = None

    async def _write_one(self, batch: Sequence[Waiting]) -> None:
        try:
            entries = [(item.entry, item.mark) for item in batch if item.entry is not None]
            if entries:
                await self._write(entries)
        finally:
            told = [item.then() for item in batch if item.then is not None]
            if told:
                await asyncio.gather(*told, return_exceptions=True)


def _both(one: Then | None, other: Then | None) -> Then | None:
    if one is None or other is None:
        return one or other

    async def then() -> None:
        await one()
        await other()

    return then
