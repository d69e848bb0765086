"""Tells who waits for a job that it has changed.

A process subscribes to the jobs that somebody waits for here, and to no others. A message may be
lost with its connection, so once in a while all of them are looked at, in one round trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

from penstock.errors import StorageError
from penstock.net.redis import FAULTS, connect
from penstock.tasks.celery.address import Address
from penstock.tasks.celery.remote import Remote

POLL: Final = 2.0  # seconds between two looks at all that is waited for
SUBSCRIBED: Final = 1.0  # seconds that a subscription may take; then the looks do it
AGAIN: Final = 0.5  # seconds until a lost connection is made anew

Heard = Callable[[str, str], None]  # a job's id and what was said about it

_SIGNS: Final = ("state", "ticket", "progress", "cancelling", "priority", "parked")


class Watch:
    """One waiter for changes."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Wake it."""
        self._changed.set()

    async def change(self) -> None:
        """Return when the job may have changed since the last time."""
        await self._changed.wait()
        self._changed.clear()


class Watches:
    """Those who wait for jobs in this process; on one loop."""

    def __init__(self, address: Address, remote: Remote, *, heard: Heard) -> None:
        self._remote = remote
        self._heard = heard
        self._channel = f"{address.prefix}:on:"
        self._idle = f"{address.prefix}:nothing"  # a subscription that is never told anything
        self._client = connect(address.broker, timeout=None, connections=2, name="penstock-watch")
        self._pubsub: Any = None
        self._watches: dict[str, set[Watch]] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.is_closed = False

    @asynccontextmanager
    async def on(self, job_id: str) -> AsyncIterator[Watch]:
        """A waiter for changes of a job that are made from now on."""
        watch = Watch()
        with self._listed(job_id, watch):
            await self._subscribe(job_id)
            yield watch

    @contextmanager
    def _listed(self, job_id: str, watch: Watch) -> Iterator[None]:
        self._watches.setdefault(job_id, set()).add(watch)
        try:
            yield
        finally:
            left = self._watches[job_id]
            left.discard(watch)
            if not left:
                del self._watches[job_id]
                self._ready.pop(job_id, None)
                self._unsubscribe(job_id)

    async def is_back(self, seconds: float) -> bool:
        """Wait for a Redis that is gone, up to so long."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.is_closed and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(AGAIN)
            with suppress(StorageError):
                await self._remote.pipe([("PING",)])
                return True
        return False

    def close(self) -> None:
        """There is nothing more to come: wake all."""
        self.is_closed = True
        self._wake_all()
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Wait for the end of it."""
        self.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(*FAULTS):
            await self._client.aclose()

    async def _subscribe(self, job_id: str) -> None:
        ready = self._ready.get(job_id)
        if ready is None:
            ready = self._ready[job_id] = asyncio.Event()
            if not self._tasks:
                self._tasks = [
                    asyncio.ensure_future(self._listen()),
                    asyncio.ensure_future(self._look()),
                ]
            elif self._pubsub is not None:
                with suppress(*FAULTS):  # the listener sees it too, and subscribes anew
                    await self._pubsub.subscribe(self._channel + job_id)
        if not ready.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(SUBSCRIBED):
                    await ready.wait()

    def _unsubscribe(self, job_id: str) -> None:
        if self._pubsub is None or self.is_closed:
            return
        leaving = asyncio.ensure_future(self._leave(job_id))
        self._tasks.append(leaving)
        leaving.add_done_callback(self._tasks.remove)

    async def _leave(self, job_id: str) -> None:
        if job_id not in self._watches and self._pubsub is not None:
            with suppress(*FAULTS):
                await self._pubsub.unsubscribe(self._channel + job_id)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(
                        self._idle, *(self._channel + job for job in self._ready)
                    )
                    self._pubsub = pubsub
                    await self._catch_up(pubsub)
                    async for message in pubsub.listen():
                        self._take(message)
            except FAULTS:
                self._pubsub = None
                for ready in self._ready.values():
                    ready.clear()
                await asyncio.sleep(AGAIN)

    async def _catch_up(self, pubsub: Any) -> None:
        """Subscribe to what was asked for while it connected."""
        known = {name.decode() for name in pubsub.channels}
        more = [self._channel + job for job in self._ready if self._channel + job not in known]
        if more:
            await pubsub.subscribe(*more)

    def _take(self, message: dict[str, Any]) -> None:
        job_id = message["channel"].decode().removeprefix(self._channel)
        if message["type"] == "subscribe":
            ready = self._ready.get(job_id)
            if ready is not None:
                ready.set()
        elif message["type"] != "message":
            return
        else:
            self._heard(job_id, message["data"].decode())
        self._wake(job_id)  # of a subscription too: it may have changed before

    async def _look(self) -> None:
        known: dict[str, Any] = {}
        while True:
            await asyncio.sleep(POLL)
            ids = list(self._watches)
            try:
                signs = dict(zip(ids, await self._remote.fields_of(ids, _SIGNS), strict=True))
            except StorageError:
                self._wake_all()  # who reads the record is told why it cannot
                continue
            for job_id, sign in signs.items():
                if known.get(job_id) != sign:  # of one not seen before, too: it may have changed
                    self._wake(job_id)
            known = signs

    def _wake(self, job_id: str) -> None:
        for watch in tuple(self._watches.get(job_id, ())):
            watch.tell()

    def _wake_all(self) -> None:
        for job_id in tuple(self._watches):
            self._wake(job_id)
