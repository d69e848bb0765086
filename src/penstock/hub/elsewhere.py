"""A hub on an event loop in a thread of its own, for a cache that any loop and thread may use.

A hub over a network belongs to one loop. The layer's cache does not: plain functions use it too,
and applications may have several loops. What is synchronous goes straight to the hub, which allows
that from any thread; what is awaited is done on the hub's loop.

A thread does not survive a fork: in a child of the process that opened it this is a hub that is
away, as it is when its loop does not answer in time.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from penstock.errors import StorageUnavailable
from penstock.hub.hub import KEPT, Hub, HubStatus, Lease
from penstock.hub.places import LocalLease

T = TypeVar("T")

PATIENCE: Final = 10.0  # seconds to open or to close it, and to wait for it longer than was asked
AWAY: Final = "the hub is away: it belongs to the process before a fork, or its thread hangs"


class HubElsewhere:
    """The hub that `open` makes, on a thread that ends with `close`."""

    heads: Sequence[int]

    def __init__(self, open: Callable[[], Coroutine[Any, Any, Hub]]) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="penstock-hub", daemon=True
        )
        self._thread.start()
        try:
            self._hub = hub = self._wait(open())
        except BaseException:
            self._end()
            raise
        self.heads = hub.heads
        # What every hit asks, without a call in between.
        self.since = hub.since
        self.sequence = hub.sequence
        self.heard = hub.heard
        self.generation = hub.generation
        self.publish = hub.publish
        self.bump = hub.bump
        self.take = hub.take_at_once
        self.take_at_once = hub.take_at_once

    @property
    def spans_machines(self) -> bool:
        """See Hub."""
        return self._hub.spans_machines

    @property
    def is_current(self) -> bool:
        """See Hub."""
        return self._hub.is_current and not self._is_forked()

    async def acquire(self, name: str, *, seconds: float) -> Lease | None:
        """See Hub."""
        return (await self.acquire_many((name,), seconds=seconds))[name]

    async def acquire_many(
        self, names: Sequence[str], *, seconds: float
    ) -> dict[str, Lease | None]:
        """See Hub."""
        try:
            found = await self._there(lambda: self._hub.acquire_many(names, seconds=seconds))
        except StorageUnavailable:
            return {name: LocalLease(name) for name in names}
        return {name: self._lease(lease) for name, lease in found.items()}

    async def settled(self) -> None:
        """See Hub."""
        with suppress(StorageUnavailable):
            await self._there(self._hub.settled)

    async def wait_released(self, name: str, *, seconds: float) -> bool:
        """See Hub."""
        try:
            return await self._there(
                lambda: self._hub.wait_released(name, seconds=seconds), seconds=seconds
            )
        except StorageUnavailable:
            return False

    async def slot(
        self, name: str, *, limit: int, seconds: float, wait: float = 0.0
    ) -> Lease | None:
        """See Hub."""
        try:
            found = await self._there(
                lambda: self._hub.slot(name, limit=limit, seconds=seconds, wait=wait), seconds=wait
            )
        except StorageUnavailable:
            return LocalLease(name)
        return self._lease(found)

    async def add(
        self, counters: Mapping[str, Mapping[str, int]], *, once: str = "", kept: float = KEPT
    ) -> int:
        """See Hub."""
        return await self._there(lambda: self._hub.add(counters, once=once, kept=kept))

    async def read(self, name: str) -> dict[str, int]:
        """See Hub."""
        return await self._there(lambda: self._hub.read(name))

    async def status(self) -> HubStatus:
        """See Hub."""
        try:
            return await self._there(self._hub.status)
        except StorageUnavailable:
            return HubStatus(kind="redis", connected=False, detail=AWAY)

    def close(self) -> None:
        """Tell what waits, let go of connections, end the thread."""
        if self._loop.is_closed() or self._is_forked():
            return
        try:
            self._wait(self._hub.aclose())
        finally:
            self._end()

    async def aclose(self) -> None:
        """See Hub."""
        await asyncio.to_thread(self.close)

    def _lease(self, lease: Lease | None) -> Lease | None:
        return None if lease is None else LeaseElsewhere(lease, self._there)

    def _is_forked(self) -> bool:
        return os.getpid() != self._process

    async def _there(
        self, work: Callable[[], Coroutine[Any, Any, T]], *, seconds: float = 0.0
    ) -> T:
        """What comes of it on the hub's loop; StorageUnavailable when nothing can."""
        if self._is_forked() or self._loop.is_closed():
            raise StorageUnavailable(AWAY)
        answer = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            async with asyncio.timeout(seconds + PATIENCE):
                return await asyncio.wrap_future(answer)
        except TimeoutError as error:
            raise StorageUnavailable(AWAY) from error

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class LeaseElsewhere:
    """A lease that is extended and released on the hub's loop."""

    def __init__(self, lease: Lease, there: Callable[..., Awaitable[bool]]) -> None:
        self._lease = lease
        self._there = there
        self.name = lease.name
        self.shared = lease.shared

    async def extend(self, seconds: float) -> bool:
        """See Lease."""
        return await self._ask(lambda: self._lease.extend(seconds))

    async def release(self) -> bool:
        """See Lease."""
        return await self._ask(self._lease.release)

    async def _ask(self, work: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        try:
            return await self._there(work)
        except StorageUnavailable:
            return False
