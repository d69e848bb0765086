"""Single flight: one computation per key at a time, any number of callers that wait for it.

A flight belongs to nobody who waits for it. Every waiter has a future of its own, so one that is
cancelled takes itself away and nothing else; the computation runs in a task that this object keeps,
or in the thread of the synchronous caller who came first. Waiters may sit in other threads and on
other event loops.

A computation that waits for itself, directly or through others, would wait for ever: it is told
apart by a context variable that names the flights one is inside of, and refused with ReentrantCall.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from penstock.cache.entry import Frozen, Hit
from penstock.errors import CacheUnavailable, ReentrantCall

_inside: ContextVar[tuple[Flight, ...]] = ContextVar("penstock_inside", default=())


class Flight:
    """One computation on its way."""

    __slots__ = (
        "_done",
        "_error",
        "_lock",
        "_loop",
        "_result",
        "_waiters",
        "awaits",
        "found",
        "key",
        "superseded",
        "thread",
    )

    def __init__(self, key: str, loop: asyncio.AbstractEventLoop | None) -> None:
        self.key = key
        self.thread = threading.get_ident()
        self.superseded = False  # the key was set or deleted meanwhile: do not keep the result
        self.awaits: list[Flight] = []  # flights that this one's computation waits for
        self.found: Hit | None = None  # where the result was, when it turned out to be there
        self._loop = loop
        self._lock = threading.Lock()
        self._done = False
        self._result: Frozen | None = None
        self._error: BaseException | None = None
        self._waiters: list[Callable[[], None]] = []

    def land(self, result: Frozen) -> None:
        """Hand the result to all who wait."""
        self._result = result
        self._finish()

    def crash(self, error: BaseException) -> None:
        """Hand the error to all who wait."""
        self._error = error
        self._finish()

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody can finish it any more: its event loop was closed under it."""
        return self._loop is not None and self._loop.is_closed() and not self._done

    def blocks(self) -> bool:
        """Whether waiting in this thread would keep it from ever finishing."""
        return self.thread == threading.get_ident() and not self._done

    async def wait(self) -> Frozen:
        """The result; raises what the computation raised."""
        loop = asyncio.get_running_loop()
        landed: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not landed.done():
                landed.set_result(None)

        def wake_safely() -> None:
            if self._loop is loop and threading.get_ident() == self.thread:
                wake()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(wake)

        with self._lock:
            waiting = not self._done
            if waiting:
                self._waiters.append(wake_safely)
        if waiting:
            await landed
        return self._outcome()

    def wait_blocking(self) -> Frozen:
        """As `wait`, holding up this thread."""
        landed = threading.Event()
        with self._lock:
            waiting = not self._done
            if waiting:
                self._waiters.append(landed.set)
        if waiting:
            landed.wait()
        return self._outcome()

    def _outcome(self) -> Frozen:
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def _finish(self) -> None:
        with self._lock:
            self._done = True
            waiters, self._waiters = self._waiters, []
        for wake in waiters:
            wake()


class Flights:
    """All computations of one cache that are on their way."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, key: str, loop: asyncio.AbstractEventLoop | None = None) -> tuple[Flight, bool]:
        """The flight of this key, and whether the caller has to run it.

        Whoever has to must end with `leave`. Raises ReentrantCall when the computation around the
        caller is what the caller would wait for.
        """
        inside = _inside.get()
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None and not flight.is_abandoned:
                if inside:
                    _refuse_circle(flight, inside)
                return flight, False
            flight = self._flights[key] = Flight(key, loop)
            return flight, True

    def leave(self, flight: Flight) -> None:
        """Take a flight that has ended, or is about to, off the list."""
        with self._lock:
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]

    def is_flying(self, key: str) -> bool:
        """Whether somebody computes this key right now."""
        return key in self._flights

    def supersede(self, selected: Callable[[str], object]) -> None:
        """Keep results that are on their way from being remembered."""
        if self._flights:
            with self._lock:
                for key, flight in self._flights.items():
                    if selected(key):
                        flight.superseded = True

    def launch(self, flights: list[Flight], run: Coroutine[Any, Any, None]) -> None:
        """Run the computation of these flights in a task; `run` must end each of them."""
        token = _inside.set((*_inside.get(), *flights))
        try:
            task = asyncio.get_running_loop().create_task(run)
        finally:
            _inside.reset(token)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextmanager
    def inside(self, flight: Flight) -> Iterator[None]:
        """Mark the code within as this flight's computation; for callers who run it themselves."""
        token = _inside.set((*_inside.get(), flight))
        try:
            yield
        finally:
            _inside.reset(token)

    async def wait(self, flight: Flight) -> Frozen:
        """Wait for a flight, noting who waits for whom."""
        inside = _inside.get()
        if not inside:
            return await flight.wait()
        inside[-1].awaits.append(flight)
        try:
            return await flight.wait()
        finally:
            inside[-1].awaits.remove(flight)

    def wait_blocking(self, flight: Flight) -> Frozen:
        """As `wait`, holding up this thread."""
        inside = _inside.get()
        if not inside:
            return flight.wait_blocking()
        inside[-1].awaits.append(flight)
        try:
            return flight.wait_blocking()
        finally:
            inside[-1].awaits.remove(flight)

    async def settle(self) -> None:
        """Wait until everything that this event loop computes at present has ended."""
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._tasks if task.get_loop() is loop]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def aclose(self) -> None:
        """Cancel what runs on this event loop and wait until it has ended."""
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._tasks if task.get_loop() is loop]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def gone(error: BaseException) -> BaseException:
    """What waiters are told of an error that is meant for the computation's own task or thread."""
    if isinstance(error, Exception):
        return error
    told = CacheUnavailable("the computation was stopped before it had a result")
    told.__cause__ = error
    return told


def _refuse_circle(flight: Flight, inside: tuple[Flight, ...]) -> None:
    """Follow who waits for whom from `flight`; to arrive at ourselves is to wait for ever."""
    seen: set[int] = set()
    rest = [flight]
    while rest:
        one = rest.pop()
        if one in inside:
            raise ReentrantCall(f"the computation of {flight.key!r} waits for itself")
        if id(one) not in seen:
            seen.add(id(one))
            rest.extend(one.awaits)
