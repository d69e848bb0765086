"""Sends how far jobs are: at once, and then at most four times a second for each."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from penstock.errors import StorageError
from penstock.tasks.job import Progress

if TYPE_CHECKING:
    from penstock.tasks.celery.engine import CeleryEngine

EVERY: Final = 0.25  # seconds


class Reports:
    """Progress that was not sent yet; on the engine's loop."""

    def __init__(self, engine: CeleryEngine) -> None:
        self._engine = engine
        self._fresh: dict[tuple[str, str], Progress] = {}
        self._sending: asyncio.Task[None] | None = None

    def add(self, job_id: str, ticket: str, progress: Progress) -> None:
        """Take what a function says; what is sent is the latest."""
        self._engine.store.note(job_id, progress)
        self._fresh[job_id, ticket] = progress
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._send())

    async def aclose(self) -> None:
        """Send no more: what ended has its last progress in its outcome."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send(self) -> None:
        while self._fresh:
            fresh, self._fresh = self._fresh, {}
            words = [
                word
                for (job_id, ticket), progress in fresh.items()
                for word in (job_id, ticket, msgspec.json.encode(progress))
            ]
            with suppress(StorageError):  # the next one, or the outcome, will tell
                await self._engine.remote.ask("attempts", "progress", *words)
            await asyncio.sleep(EVERY)
