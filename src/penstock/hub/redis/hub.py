"""`RedisHub`: the parts of this package behind the Hub protocol."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from penstock.clock import Clock, SystemClock
from penstock.hub.hub import KEPT, Grant, HubStatus, Lease, Message
from penstock.hub.places import LocalLease
from penstock.hub.redis.counters import Counters
from penstock.hub.redis.leases import Leases
from penstock.hub.redis.ledger import Ledger
from penstock.hub.redis.link import Link
from penstock.hub.redis.rates import PATIENCE, Rates
from penstock.net.per_loop import PerLoop
from penstock.net.redis import FAULTS, TIMEOUT, connect, explain, shown
from penstock.observe.metrics import Metrics

FAREWELL: Final = 1.0  # seconds to tell what waits, when closing or asked to
FORKED: Final = "opened before this process was forked; open it anew in each process"
PATIENT: Final = 1.0  # seconds for an answer that no request waits for


class RedisHub:
    """Made and used on one event loop; `publish`, `bump` and all that reads may come from any
    thread, and leases from any loop, each with connections of its own. Nothing is sent before
    `start`. The time-outs are how long a request waits at most, for a lease and to be counted,
    before it goes on without Redis.
    """

    heads: Sequence[int]
    spans_machines = True

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        prefix: str = "penstock:",
        lease_timeout: float = TIMEOUT,
        rate_timeout: float = PATIENCE,
    ) -> None:
        clock, prefix, origin = clock or SystemClock(), f"{prefix}hub:", secrets.token_hex(8)
        self._url = url
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._ledger = ledger = Ledger(origin, base=int(clock.now() * 1e6))
        self.heads = ledger.heads
        # The questions of every request, without a call in between.
        self.sequence: Callable[[], int] = ledger.sequence
        self.heard: Callable[[], int] = ledger.heard
        self.generation: Callable[[str], int] = ledger.generation
        self._link = Link(
            url, ledger, origin=origin, prefix=prefix, clock=clock, metrics=metrics or Metrics()
        )
        self._patient = connect(url, timeout=PATIENT, connections=2, name="penstock-hub-counts")

        def lend() -> Leases:
            return Leases(url, prefix=prefix, clock=clock, up=self._can_ask, timeout=lease_timeout)

        self._leases: PerLoop[Leases] = PerLoop(lend, lambda leases: leases.aclose())
        self._rates = Rates(
            self._patient, prefix=prefix, clock=clock, up=self._can_ask, timeout=rate_timeout
        )
        self._counters = Counters(self._patient, url=url, prefix=prefix)
        self._link.on_change(lambda up: self._rates.changed(up=up))
        self._link.on_change(self._tell_leases)
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._process = os.getpid()

    async def start(self, *, wait: float = 1.0, distrust: bool = False) -> None:
        """Connect; returns when that succeeded or failed, at the latest after `wait` seconds.

        It goes on trying. With `distrust`, nothing that any cache of this installation holds is
        used any more once it is connected: something else than Redis kept the clock before.
        """
        self._link.raise_floor = distrust
        self._tasks = [
            asyncio.ensure_future(self._link.run()),
            asyncio.ensure_future(self._rates.run()),
        ]
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._link.joined.wait()

    @property
    def is_current(self) -> bool:
        """See Hub."""
        return self._link.is_up and not self._is_forked()

    @property
    def round_trips(self) -> int:
        """How often limits were booked."""
        return self._rates.round_trips

    def since(self, position: int) -> tuple[int, list[Message]] | None:
        self._is_forked()
        return self._ledger.since(position)

    def publish(self, topic: str, body: bytes) -> None:
        self._is_forked()
        self._ledger.publish(topic, body)
        self._stir()

    def bump(self, name: str) -> int:
        self._is_forked()
        value = self._ledger.bump(name)
        self._stir()
        return value

    async def settled(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self._link.told()

    def take(self, name: str, *, limit: int, window: float, at: float) -> Grant | Awaitable[Grant]:
        if threading.get_ident() != self._thread:  # an awaitable would be for another loop
            return self._rates.take_at_once(name, limit=limit, window=window, at=at)
        return self._rates.take(name, limit=limit, window=window, at=at)

    def take_at_once(self, name: str, *, limit: int, window: float, at: float) -> Grant:
        self._is_forked()
        return self._rates.take_at_once(name, limit=limit, window=window, at=at)

    async def acquire(self, name: str, *, seconds: float) -> Lease | None:
        return (await self.acquire_many((name,), seconds=seconds))[name]

    async def acquire_many(
        self, names: Sequence[str], *, seconds: float
    ) -> dict[str, Lease | None]:
        if not self._can_lend():
            return {name: LocalLease(name) for name in names}
        return await self._leases.get().acquire_many(names, seconds=seconds)

    async def wait_released(self, name: str, *, seconds: float) -> bool:
        return self._can_lend() and await self._leases.get().wait_released(name, seconds=seconds)

    async def slot(
        self, name: str, *, limit: int, seconds: float, wait: float = 0.0
    ) -> Lease | None:
        if not self._can_lend():
            return LocalLease(name)
        return await self._leases.get().slot(name, limit=limit, seconds=seconds, wait=wait)

    async def add(
        self, counters: Mapping[str, Mapping[str, int]], *, once: str = "", kept: float = KEPT
    ) -> int:
        return await self._counters.add(counters, once=once, kept=kept)

    async def read(self, name: str) -> dict[str, int]:
        return await self._counters.read(name)

    async def status(self) -> HubStatus:
        """See Hub."""
        link, detail, memory = self._link, self._link.detail, 0
        if link.reads:
            try:
                told: Any = await self._patient.info("memory")
                memory = int(told.get("used_memory", 0))
            except FAULTS as error:
                detail = detail or explain(error, self._url)
        return HubStatus(
            kind="redis",
            connected=link.is_up,
            detail=detail,
            url=shown(self._url),
            version=link.version,
            latency_seconds=link.latency,
            memory_bytes=memory,
            waiting=self._ledger.waiting,
            lost=self._ledger.lost,
        )

    def close(self) -> None:
        """See Hub; connections end with their loop. `aclose` is kinder."""
        self._closed = True
        for task in self._tasks:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(task.cancel)

    async def aclose(self) -> None:
        """See Hub."""
        if not self._closed and self._tasks:
            await self.settled()
        self._closed = True
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._leases.aclose()
        await self._patient.aclose()

    def _can_ask(self) -> bool:
        return self._link.is_up and not self._closed

    def _can_lend(self) -> bool:
        return not self._is_forked() and not self._closed

    def _tell_leases(self, up: bool) -> None:
        for leases in self._leases.all():
            leases.changed(up=up)

    def _is_forked(self) -> bool:
        """Whether this is a child of the process that opened it.

        Loop, thread and connections are the parent's: here it is away, for good.
        """
        if os.getpid() == self._process:
            return False
        if not self._closed:
            self._closed = True
            self._ledger.renew_lock()
            self._rates.renew_lock()
            self._link.abandon(FORKED)
        return True

    def _stir(self) -> None:
        if self._closed:
            return
        if threading.get_ident() == self._thread:
            self._link.stir()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._link.stir)
