"""Hears of running jobs that are to end, wherever that was asked; the leases tell it too, later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from penstock.net.redis import FAULTS, connect
from penstock.tasks.celery.address import Address

AGAIN: Final = 0.5  # seconds until a lost connection is made anew


class Hearing:
    """A subscription to cancels, on one loop."""

    def __init__(self, address: Address, *, heard: Callable[[str], None]) -> None:
        self._channel = f"{address.prefix}:cancel"
        self._client = connect(address.broker, timeout=None, connections=1, name="penstock-cancel")
        self._heard = heard
        self._listening: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._listening = asyncio.ensure_future(self._listen())

    async def aclose(self) -> None:
        """End."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        with suppress(*FAULTS):
            await self._client.aclose()

    async def _listen(self) -> None:
        while True:
            with suppress(*FAULTS):
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(self._channel)
                    async for message in pubsub.listen():
                        if message["type"] == "message":
                            self._heard(message["data"].decode())
            await asyncio.sleep(AGAIN)
