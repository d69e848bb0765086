"""Writes the outcomes of a running batch in groups: a commit for each would cost more than them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from penstock.batch.progress import Meter
from penstock.batch.records import COMPLETED, FAILED, Done
from penstock.batch.runner import Outcome
from penstock.batch.store import BatchStore

GROUP: Final = 64  # outcomes in one transaction
PATIENCE: Final = 0.25  # seconds that the first of them waits for more

_encode = msgspec.json.Encoder().encode


class Recorder:
    """Takes outcomes at once, and writes them within a moment."""

    def __init__(
        self, store: BatchStore, batch_id: str, meter: Meter, *, on_written: Callable[[], None]
    ) -> None:
        self.meter = meter
        self._on_written = on_written
        self._store = store
        self._batch_id = batch_id
        self._waiting: list[Done] = []
        self._some = asyncio.Event()
        self._group = asyncio.Event()
        self._writing: asyncio.Future[None] | None = None

    def add(self, number: int, outcome: Outcome[Any]) -> None:
        """Take one outcome."""
        failed = outcome.error is not None
        body = _encode(outcome.error if failed else outcome.value)
        state = FAILED if failed else COMPLETED
        self._waiting.append(Done(number, state, outcome.cached, body))
        self.meter.add(failed=failed, cached=outcome.cached)
        self._some.set()
        if len(self._waiting) >= GROUP:
            self._group.set()

    async def record(self) -> None:
        """Write what comes, for ever. Raises StorageError: then the batch cannot go on."""
        while True:
            await self._some.wait()
            if len(self._waiting) < GROUP:
                self._group.clear()
                try:
                    async with asyncio.timeout(PATIENCE):
                        await self._group.wait()
                except TimeoutError:
                    pass
            await self.flush()

    async def flush(self) -> None:
        """Write what waits, and wait for what is being written; cancelling this stops no write.

        Raises StorageError, also of a write whose caller went away.
        """
        await self._written()
        group, self._waiting = self._waiting, []
        self._some.clear()
        self._group.clear()
        if group:
            writing = self._store.finish(self._batch_id, group, rate=self.meter.rate)
            self._writing = asyncio.ensure_future(writing)
            await self._written()

    async def _written(self) -> None:
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None
            self._on_written()
