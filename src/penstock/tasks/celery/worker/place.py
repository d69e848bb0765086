"""Where a process of a worker runs its jobs: a loop in a thread, with all that is open on it.

It is opened in the process that runs jobs, never before a fork: neither threads nor connections
survive one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Protocol

from penstock.errors import ConfigurationError
from penstock.tasks.celery.engine import CeleryEngine
from penstock.tasks.celery.worker.bench import Bench
from penstock.tasks.queue import TaskQueue

OPENING: Final = 120.0  # seconds
CLOSING: Final = 20.0
LEAVING: Final = 2.0  # seconds for what still runs: its worker has waited already

Opens = Callable[[], AbstractAsyncContextManager[TaskQueue]]


class Place(Protocol):
    """Has the bench of this process."""

    def bench(self) -> Bench:
        """The bench, opened if need be."""

    def close(self) -> None:
        """Take everything down."""


class LoopPlace:
    """A place on a loop thread; `opens` opens a queue there, with what its tasks need."""

    def __init__(self, opens: Opens, *, node: Callable[[], str]) -> None:
        self._opens = opens
        self._node = node
        self._lock = threading.Lock()
        self._process = 0
        self._bench: Bench | None = None
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Event
        self._keeping: asyncio.Task[None]

    def bench(self) -> Bench:
        if self._bench is not None and self._process == os.getpid():
            return self._bench
        if self._process != os.getpid():  # a fork: what the parent had is not ours
            self._lock, self._bench, self._process = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._bench is None:
                self._bench = self._open()
            return self._bench

    def close(self) -> None:
        if self._bench is None or self._process != os.getpid():
            return
        self._bench = None
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(CLOSING)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _open(self) -> Bench:
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name="penstock-loop", daemon=True)
        thread.start()
        return asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(OPENING)

    async def _begin(self) -> Bench:
        opened: asyncio.Future[Bench] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._keeping = asyncio.ensure_future(self._keep(opened))
        return await opened

    async def _keep(self, opened: asyncio.Future[Bench]) -> None:
        try:
            async with self._opens() as queue:
                bench = Bench(engine_of(queue), loop=self._loop, node=self._node())
                await bench.start()
                opened.set_result(bench)
                await self._ended.wait()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LEAVING):
                        await bench.stop(0)
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    async def _end(self) -> None:
        self._ended.set()
        await self._keeping


def engine_of(queue: TaskQueue) -> CeleryEngine:
    """The engine of a queue that a Celery worker may run. Raises ConfigurationError."""
    if not isinstance(queue.engine, CeleryEngine):
        raise ConfigurationError(
            "a Celery worker needs a Celery engine: set CELERY_BROKER_URL, or REDIS_URL and "
            "PENSTOCK_TASKS=celery"
        )
    return queue.engine
