"""What is done after the last byte: gathered in memory, written together, each kind for itself.

    request ── put ──┐
    request ── put ──┼── 50 ms ──► statistics: one write ─┐
    request ── put ──┘             ledger: one write ─────┼─ side by side; one that fails or
                                   another: one write ────┘  hangs is no matter to the rest

A request appends to memory and goes on: it never waits for what is written of it. What a window
gathered leaves in one write; what could not be written stays, is written with what came meanwhile,
and is bounded: what finds no room is lost and counted. A process that is killed loses its last
window; one that stops writes what it has, within a deadline.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from penstock.clock import Clock
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics

WINDOW_SECONDS: Final = 0.05  # from the first that waits to the write
RETRY_SECONDS: Final = 1.0  # after a write that failed
PATIENCE_SECONDS: Final = 30.0  # for one write
STOP_SECONDS: Final = 5.0  # for the last writes of a process, all together
MOST_ITEMS: Final = 10_000  # that wait in one queue
TOGETHER: Final = 1_000  # of them in one call

T = TypeVar("T")
Flush = Callable[[], Awaitable[bool]]
"""Writes all that waits; False (or an exception) where something still does."""

_log = get_logger("penstock.effects")


class Effect:
    """One thing that is done afterwards. It says that something waits; when is not its business."""

    def __init__(
        self, name: str, flush: Flush, *, waiting: Callable[[], int], metrics: Metrics
    ) -> None:
        self.name = name
        self._flush = flush
        self._waiting = waiting
        self._woken = asyncio.Event()
        self._turn = asyncio.Lock()
        self._failing = False
        self._lost = metrics.counter("penstock_effects_lost_total", effect=name)
        self._failed = metrics.counter("penstock_effects_failures_total", effect=name)
        self._seconds = metrics.histogram("penstock_effect_seconds", effect=name)
        self._depth = metrics.bound_gauge("penstock_effects_waiting_items", effect=name)

    def wake(self) -> None:
        """Have what waits written when the window is over."""
        self._woken.set()

    def lose(self, count: int) -> None:
        """Count what found no room, or could not be written any more."""
        self._lost.value += count

    async def due(self, clock: Clock) -> None:
        """Return when something is to be written: after a window, later after a failure."""
        await self._woken.wait()
        self._depth.value = self._waiting()
        await clock.sleep(RETRY_SECONDS if self._failing else WINDOW_SECONDS)

    async def run(self, clock: Clock) -> bool:
        """Write all that waits, once the write before is done; says whether nothing is left."""
        async with self._turn:
            self._woken.clear()
            began = clock.monotonic()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    done = await self._flush()
            except Exception as error:  # the edge of a flush: the others are as due
                self._note(error)
                done = False
            finally:
                self._seconds.record(clock.monotonic() - began)
                self._depth.value = self._waiting()
            self._conclude(done)
            return done

    def abandon(self) -> None:
        """Count everything that still waits as lost."""
        left = self._waiting()
        if left:
            _log.error("effects.lost", effect=self.name, count=left)
            self.lose(left)

    def _note(self, error: Exception) -> None:
        if not self._failing:
            _log.warning(
                "effects.not_written",
                effect=self.name,
                error=type(error).__name__,
                detail=str(error)[:300],
            )

    def _conclude(self, done: bool) -> None:
        if not done:
            self._failed.value += 1
            self._woken.set()
        elif self._failing:
            _log.info("effects.written_again", effect=self.name)
        self._failing = not done


class EffectQueue(Generic[T]):
    """Items in the order in which they came, written by up to a thousand."""

    def __init__(
        self, write: Callable[[list[T]], Awaitable[None]], *, most: int, together: int
    ) -> None:
        self._write = write
        self._most = most
        self._together = together
        self._items: deque[T] = deque()
        self.effect: Effect  # set by `Effects.queue`

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> bool:
        """Have an item written soon. False: there is no room, it is lost and counted."""
        if len(self._items) >= self._most:
            self.effect.lose(1)
            return False
        self._items.append(item)
        self.effect.wake()
        return True

    async def flush(self) -> bool:
        """Write what waits; what a failed write had goes back to the front."""
        while self._items:
            part = list(islice(self._items, self._together))
            for _ in part:
                self._items.popleft()
            try:
                await self._write(part)
            except BaseException:
                self._items.extendleft(reversed(part))
                raise
        return True


class Effects:
    """All effects of a process. Belongs to one event loop, which runs `keep`."""

    def __init__(self, *, clock: Clock, metrics: Metrics | None = None) -> None:
        self._clock = clock
        self._metrics = metrics or Metrics()
        self._effects: list[Effect] = []
        self._keeping: dict[Effect, asyncio.Future[None]] | None = None
        self._writes: set[asyncio.Future[bool]] = set()

    def effect(self, name: str, flush: Flush, *, waiting: Callable[[], int]) -> Effect:
        """Something that gathers for itself: `flush` writes it, `waiting` says how much there is.

        `flush` may be given up after half a minute: what it had then waits again. Two never run at
        once by way of this.
        """
        effect = Effect(name, flush, waiting=waiting, metrics=self._metrics)
        self._effects.append(effect)
        if self._keeping is not None:
            self._keeping[effect] = asyncio.ensure_future(self._serve(effect))
        return effect

    def queue(
        self,
        name: str,
        write: Callable[[list[T]], Awaitable[None]],
        *,
        most: int = MOST_ITEMS,
        together: int = TOGETHER,
    ) -> EffectQueue[T]:
        """Items that `write` takes in order, `together` at once. `write` raises what went wrong."""
        queue: EffectQueue[T] = EffectQueue(write, most=most, together=together)
        queue.effect = self.effect(name, queue.flush, waiting=queue.__len__)
        return queue

    async def keep(self) -> None:
        """Write what comes in until cancelled; then what is left, within a deadline."""
        self._keeping = {
            effect: asyncio.ensure_future(self._serve(effect)) for effect in self._effects
        }
        try:
            await asyncio.Event().wait()
        finally:
            serving = list(self._keeping.values())
            self._keeping = None
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await self._end()

    async def flush(self) -> bool:
        """Write everything now, side by side; says whether nothing is left."""
        return all(await asyncio.gather(*(self._begin(effect) for effect in self._effects)))

    async def _serve(self, effect: Effect) -> None:
        while True:
            await effect.due(self._clock)
            await self._begin(effect)

    async def _begin(self, effect: Effect) -> bool:
        """Write, whatever becomes of who waits for it: what is half done would be done twice."""
        write = asyncio.ensure_future(effect.run(self._clock))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)
        return await asyncio.shield(write)

    async def _end(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self.flush()
        left: list[asyncio.Future[Any]] = list(self._writes)
        for write in left:
            write.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for effect in self._effects:
            effect.abandon()
