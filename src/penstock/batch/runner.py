"""`run_batch`: many items through one worker, a bounded number at once.

    source ─► equal to one that runs or ran? ─► its outcome
                └─ no ─► worker, within its time ─► outcome
                              └─ throttled, timed out ─► narrower; again, after a pause

Equal items are computed once, order is kept, a failing item fails alone, and when the time is up
what is finished stays. Nothing is stored here: `work.py` does that for batches that must survive.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from penstock.batch.operation import TIMEOUT, Answer, ItemError, failure, may_improve
from penstock.batch.pace import Pace
from penstock.batch.progress import Meter, Progress
from penstock.batch.width import Width
from penstock.clock import Clock, SystemClock
from penstock.errors import PenstockError, ProviderThrottled, ProviderTimeout
from penstock.observe.logging import get_logger

Q = TypeVar("Q")
R = TypeVar("R")

REMEMBERED = 2_000  # outcomes by key, for equal items that come later; the cache knows the rest

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """What became of one item: a value, or an error."""

    value: R | None = None
    error: ItemError | None = None
    cached: bool = False  # nothing was computed for it: the cache had it, or an equal item


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard a batch may try. Times in seconds."""

    concurrency: int = 16  # items at once; fewer while they are throttled or time out
    item_timeout: float | None = None  # for one attempt at one item
    retries: int = 2  # further attempts at an item whose failure may pass
    backoff: float = 1.0  # the longest pause before the first of them; doubles with each
    max_backoff: float = 30.0


async def run_batch(
    items: Sequence[Q],
    worker: Callable[[Q], Awaitable[Answer[R]]],
    *,
    concurrency: int = 16,
    timeout: float | None = None,  # noqa: ASYNC109 - what is finished stays, which a caller's cannot
    item_timeout: float | None = None,
    key: Callable[[Q], str] | None = None,
    known: Mapping[int, Outcome[R]] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    clock: Clock | None = None,
    limits: Limits | None = None,
    pace: Pace | None = None,
) -> list[Outcome[R]]:
    """The outcomes of `items`, in their order; never raises for an item.

    `known` are outcomes by position that are taken over. Items with equal `key` are worked on once.
    After `timeout` seconds what is not finished has the error "timeout". `limits` replaces
    `concurrency` and `item_timeout` by more of the kind; `pace` lets others on the loop go first.
    """
    clock = clock or SystemClock()
    outcomes: list[Outcome[R] | None] = [None] * len(items)
    meter = Meter(clock, total=len(items))

    def keep(number: int, outcome: Outcome[R]) -> None:
        outcomes[number] = outcome
        meter.add(failed=outcome.error is not None, cached=outcome.cached)
        if on_progress is not None:
            on_progress(meter.progress)

    for number, outcome in (known or {}).items():
        keep(number, outcome)
    left = [(number, item) for number, item in enumerate(items) if outcomes[number] is None]
    run = Run(
        worker,
        limits=limits or Limits(concurrency=concurrency, item_timeout=item_timeout),
        key=key,
        on_outcome=keep,
        clock=clock,
        pace=pace,
    )
    if not await run.drain(_each(left), timeout=timeout):
        late: Outcome[R] = Outcome(error=ItemError(TIMEOUT, "the batch ran out of time"))
        for number, _ in left:
            if outcomes[number] is None:
                keep(number, late)
    return [outcome for outcome in outcomes if outcome is not None]


class Run(Generic[Q, R]):
    """One pass over a source of numbered items; every outcome goes to `on_outcome` once."""

    def __init__(
        self,
        worker: Callable[[Q], Awaitable[Answer[R]]],
        *,
        limits: Limits,
        on_outcome: Callable[[int, Outcome[R]], None],
        clock: Clock,
        key: Callable[[Q], str] | None = None,
        pace: Pace | None = None,
        draw: Callable[[float], float] | None = None,
    ) -> None:
        self._worker = worker
        self._limits = limits
        self._on_outcome = on_outcome
        self._clock = clock
        self._key = key
        self._pace = pace
        self._draw = draw or (lambda most: random.uniform(0.0, most))
        self._width = Width(limits.concurrency)
        self._flying: dict[str, list[int]] = {}  # numbers that wait for the outcome of an equal one
        self._landed: dict[str, Outcome[R]] = {}
        self._taking = asyncio.Lock()
        self._empty = False
        self._ends: float | None = None

    @property
    def width(self) -> int:
        """How many items are worked on at once now."""
        return self._width.now

    async def drain(
        self,
        source: AsyncIterator[tuple[int, Q]],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - no error, but an answer
    ) -> bool:
        """Work through the source; False when `timeout` seconds were not enough.

        Raises what the source raises.
        """
        self._ends = None if timeout is None else self._clock.monotonic() + timeout
        workers = [
            asyncio.ensure_future(self._work(place, source))
            for place in range(self._limits.concurrency)
        ]
        try:
            async with asyncio.timeout(timeout) as time:
                await asyncio.gather(*workers)
        except TimeoutError:
            if not time.expired():
                raise
            return False
        finally:
            for each in workers:
                each.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return True

    async def _work(self, place: int, source: AsyncIterator[tuple[int, Q]]) -> None:
        while True:
            while place >= self._width.now and not self._empty:
                await self._width.changed()
            async with self._taking:  # an async generator can be asked by one at a time
                taken = None if self._empty else await anext(source, None)
                if taken is not None and self._pace is not None:
                    await self._pace.turn()
            if taken is None:
                self._empty = True
                self._width.wake()
                return
            await self._answer(*taken)

    async def _answer(self, number: int, item: Q) -> None:
        key = self._name(item)
        if key is None:
            self._on_outcome(number, (await self._try(item))[0])
            return
        if key in self._flying:
            self._flying[key].append(number)
            return
        known = self._landed.get(key)
        if known is not None:
            self._on_outcome(number, _repeated(known))
            return
        self._flying[key] = []
        outcome, settled = await self._try(item)
        self._on_outcome(number, outcome)
        for follower in self._flying.pop(key):
            self._on_outcome(follower, _repeated(outcome))
        if settled:
            self._remember(key, outcome)

    def _name(self, item: Q) -> str | None:
        if self._key is None:
            return None
        try:
            return self._key(item)
        except Exception:  # what is wrong with it, the worker will say
            return None

    def _remember(self, key: str, outcome: Outcome[R]) -> None:
        if len(self._landed) >= REMEMBERED:
            for old in list(islice(self._landed, REMEMBERED // 10)):
                del self._landed[old]
        self._landed[key] = outcome

    async def _try(self, item: Q) -> tuple[Outcome[R], bool]:
        """Ask the worker until it answers for good, the retries are used up or the time is.

        And whether it is for good: only then it stands for equal items that come later.
        """
        attempt = 0
        while True:
            outcome, pause = await self._once(item)
            if pause is None:
                return outcome, outcome.error is None
            most = min(self._limits.max_backoff, self._limits.backoff * 2.0**attempt)
            pause += self._draw(most)
            late = self._ends is not None and self._clock.monotonic() + pause >= self._ends
            if late or attempt >= self._limits.retries:
                return outcome, False
            await self._clock.sleep(pause)
            attempt += 1

    async def _once(self, item: Q) -> tuple[Outcome[R], float | None]:
        """One attempt, and the pause after which another may do better; None: it would not."""
        began = self._width.round
        try:
            async with asyncio.timeout(self._limits.item_timeout) as time:
                answer = await self._worker(item)
        except TimeoutError:
            self._width.shrink(of=began)
            known = f" of {self._limits.item_timeout:g} s" if time.expired() else ""
            return Outcome(error=ItemError(TIMEOUT, f"the item ran out of its time{known}")), None
        except Exception as error:
            return Outcome(error=failure(error)), self._pause(error, began)
        if answer.again is not None:
            self._width.shrink(of=began)
            return Outcome(answer.body), answer.again
        self._width.grow()
        return Outcome(answer.body, cached=answer.cached), None

    def _pause(self, error: Exception, began: int) -> float | None:
        if isinstance(error, ProviderThrottled | ProviderTimeout):
            self._width.shrink(of=began)
        if not isinstance(error, PenstockError) or error.status == 500:
            _log.exception("batch.item_failed", error=type(error).__name__)
        if not may_improve(error):
            return None
        return getattr(error, "retry_after", None) or 0.0


def _repeated(outcome: Outcome[R]) -> Outcome[R]:
    """The outcome for an equal item: it cost nothing."""
    return Outcome(outcome.value, outcome.error, cached=outcome.error is None)


async def _each(items: Sequence[tuple[int, Q]]) -> AsyncIterator[tuple[int, Q]]:
    for item in items:
        yield item
