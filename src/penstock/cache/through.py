"""Reading through: what is not there is computed once, remembered and given to all who wait.

The same promise three times, for callers on an event loop, callers without one, and many keys at
once. Only computing lives here; what an entry is worth is `cascade.py`, who waits for whom
`flight.py` and, among processes, `turns.py`; what is remembered of a result `keeping.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from penstock.cache.blocking import Blocking
from penstock.cache.cascade import Cascade
from penstock.cache.entry import Entry, Frozen, Hit, freeze
from penstock.cache.flight import Flight, Flights, gone
from penstock.cache.keeping import Keeping
from penstock.cache.plan import Plan
from penstock.cache.turns import TRIES, Turn, Turns, deadline
from penstock.errors import CacheError
from penstock.hub.hub import Hub
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics

log = get_logger("penstock.cache")

ComputeMany = Callable[[list[str]], Awaitable[Sequence[Any]]]


class ReadThrough:
    """Answers from the tiers or by computing."""

    def __init__(
        self,
        cascade: Cascade,
        flights: Flights,
        *,
        hub: Hub,
        keeping: Keeping,
        metrics: Metrics | None = None,
    ) -> None:
        self._cascade = cascade
        self._flights = flights
        self._keeping = keeping
        self._turns = Turns(hub, cascade)
        self.blocking = Blocking(cascade, self._turns)
        self._hub = hub
        counters = metrics or Metrics()
        self.misses = counters.counter("penstock_cache_computations_total")
        self.coalesced = counters.counter("penstock_cache_coalesced_total")
        self.stale = counters.counter("penstock_cache_stale_total")
        self.failed = counters.counter("penstock_cache_failed_total")

    # --- on an event loop ----------------------------------------------------------------------

    async def run(self, key: str, compute: Callable[[], Awaitable[Any]], plan: Plan) -> Hit:
        """The answer for one key; raises what `compute` raises."""
        hit = self._cascade.find(key, plan)
        if hit is None and self._cascade.remote:
            hit = await self._cascade.find_remote(key, plan)
        if hit is not None:
            if hit.stale:
                self.stale.value += 1
                self._refresh(key, compute, plan)
            return hit
        flight, leads = self._flights.join(key, asyncio.get_running_loop())
        if leads:
            self._flights.launch([flight], self._compute(flight, compute, plan))
        try:
            frozen = await self._flights.wait(flight)
        except Exception:
            return self._rescue(key, plan)
        return self._landed(flight, frozen, leads)

    async def refresh(self, key: str, compute: Callable[[], Awaitable[Any]], plan: Plan) -> Hit:
        """Compute anew, whatever is there; joins a computation that is already on its way.

        Other processes are told if the key was known: they may have the old value in memory.
        """
        self._cascade.catch_up()
        known = bool(self._cascade.remote) or self._cascade.knows(key)
        flight, leads = self._flights.join(key, asyncio.get_running_loop())
        if leads:
            run = self._compute(flight, compute, plan, look=False, anew=True, tell=known)
            self._flights.launch([flight], run)
        return self._landed(flight, await self._flights.wait(flight), leads)

    def _refresh(self, key: str, compute: Callable[[], Awaitable[Any]], plan: Plan) -> None:
        """Compute behind the caller's back; the flight keeps the error to itself."""
        if self._flights.is_flying(key):
            return
        flight, leads = self._flights.join(key, asyncio.get_running_loop())
        if leads:
            self._flights.launch([flight], self._compute(flight, compute, plan, look=False))

    async def _compute(
        self,
        flight: Flight,
        compute: Callable[[], Awaitable[Any]],
        plan: Plan,
        *,
        look: bool = True,
        anew: bool = False,
        tell: bool = False,
    ) -> None:
        """The body of the task that the flight stands for; ends the flight whatever happens."""
        turn, ends = Turn(), False
        try:
            hit = self._cascade.find_again(flight.key, plan) if look else None
            if hit is None and self._cascade.remote:
                hit, turn = await self._turns.take_one(flight.key, plan, anew=anew)
            if hit is not None:  # somebody landed between our look and our take-off
                flight.found = hit
                frozen = freeze(hit.value, plan.codec)
            else:
                self.misses.value += 1
                sequence = self._hub.sequence()
                frozen = freeze(await compute(), plan.codec)
                ends = self._keeping.keep([(flight, frozen)], plan, sequence, turn)
                if tell:
                    await self._cascade.flush()
                    await self._cascade.telling.tell((flight.key,))
        except BaseException as error:
            self._crash([flight], error, plan)
            if not isinstance(error, Exception):
                raise
        else:
            self._flights.leave(flight)
            flight.land(frozen)
        finally:
            if not ends:
                await turn.end()

    # --- without an event loop -------------------------------------------------------------------

    def run_blocking(self, key: str, compute: Callable[[], Any], plan: Plan) -> Hit:
        """As `run`; computes in the caller's thread, and lets other threads wait for it."""
        hit = self._cascade.find(key, plan)
        if hit is None and self._cascade.remote:
            hit = self.blocking.find(key, plan)
        if hit is not None and not hit.stale:
            return hit
        if hit is not None:
            self.stale.value += 1
            if self._flights.is_flying(key):
                return hit
        try:
            return self._compute_blocking(key, compute, plan, look=hit is None)
        except Exception:
            if hit is not None:
                return hit
            return self._rescue(key, plan)

    def refresh_blocking(self, key: str, compute: Callable[[], Any], plan: Plan) -> Hit:
        """As `refresh`, in the caller's thread."""
        self._cascade.catch_up()
        known = bool(self._cascade.remote) or self._cascade.knows(key)
        return self._compute_blocking(key, compute, plan, look=False, anew=True, tell=known)

    def _compute_blocking(
        self,
        key: str,
        compute: Callable[[], Any],
        plan: Plan,
        *,
        look: bool,
        anew: bool = False,
        tell: bool = False,
    ) -> Hit:
        flight, leads = self._flights.join(key)
        if not leads:
            if flight.blocks():  # a task of the loop that this very thread would hold up
                return Hit(compute(), "computed")
            return self._landed(flight, self._flights.wait_blocking(flight), leads)
        turn = Turn()
        try:
            hit = self._cascade.find_again(key, plan) if look else None
            if hit is None and self._cascade.remote:
                hit, turn = self.blocking.take(key, plan, anew=anew)
            if hit is not None:
                flight.found = hit
                frozen = freeze(hit.value, plan.codec)
            else:
                frozen, entries = self._compute_here(flight, compute, plan)
                self.blocking.keep(entries, plan, turn, wait=tell)
                turn = Turn()  # the other one ends behind the answer
                if tell:
                    self._cascade.telling.tell_blocking((key,))
        except BaseException as error:
            self._crash([flight], error, plan)
            raise
        finally:
            self.blocking.end(turn)
        self._flights.leave(flight)
        flight.land(frozen)
        return self._landed(flight, frozen, leads)

    def _compute_here(
        self, flight: Flight, compute: Callable[[], Any], plan: Plan
    ) -> tuple[Frozen, list[Entry]]:
        self.misses.value += 1
        sequence = self._hub.sequence()
        with self._flights.inside(flight):
            value = compute()
        frozen = freeze(value, plan.codec)
        return frozen, self._keeping.keep_local([(flight, frozen)], plan, sequence)

    # --- many keys at once -----------------------------------------------------------------------

    async def run_many(self, keys: Sequence[str], compute: ComputeMany, plan: Plan) -> list[Hit]:
        """Answers in the order of `keys`; `compute` gets the keys that nobody has or computes.

        Its values are in the order of the keys it was given. An error of one computation reaches
        those who waited for it.
        """
        hits = await self._cascade.find_many(keys, plan)
        loop = asyncio.get_running_loop()
        missing = [key for key in dict.fromkeys(keys) if key not in hits]
        joined = {key: self._flights.join(key, loop) for key in missing}
        mine = [flight for flight, leads in joined.values() if leads]
        if mine:
            self._flights.launch(mine, self._compute_many(mine, compute, plan))
        for key, (flight, leads) in joined.items():
            hits[key] = self._landed(flight, await self._flights.wait(flight), leads)
        stale = [key for key, hit in hits.items() if hit.stale and not self._flights.is_flying(key)]
        self._refresh_many(stale, compute, plan)
        return _in_order(keys, hits)

    def _refresh_many(self, keys: Sequence[str], compute: ComputeMany, plan: Plan) -> None:
        self.stale.value += len(keys)
        loop = asyncio.get_running_loop()
        joined = [self._flights.join(key, loop) for key in keys]
        mine = [flight for flight, leads in joined if leads]
        if mine:
            self._flights.launch(mine, self._compute_many(mine, compute, plan))

    async def _compute_many(
        self, flights: list[Flight], compute: ComputeMany, plan: Plan, *, tries: int = 0
    ) -> None:
        """As `_compute`; keys that another process computes are waited for beside it."""
        turn, ends = Turn(), False
        try:
            if self._cascade.remote:
                keys = [flight.key for flight in flights]
                taken = await self._turns.take(keys, plan, alone=tries >= TRIES)
                turn = taken.turn
                flights = self._land_found(flights, taken.hits, plan)
                theirs = [flight for flight in flights if flight.key in taken.elsewhere]
                flights = [flight for flight in flights if flight not in theirs]
                if theirs:
                    waiting = self._wait_for_many(theirs, compute, plan, tries=tries)
                    self._flights.launch(theirs, waiting)
            landed: list[tuple[Flight, Frozen]] = []
            if flights:
                self.misses.value += len(flights)
                sequence = self._hub.sequence()
                values = await compute([flight.key for flight in flights])
                landed = _pair(flights, values, plan)
                ends = self._keeping.keep(landed, plan, sequence, turn)
        except BaseException as error:
            self._crash(flights, error, plan)
            if not isinstance(error, Exception):
                raise
        else:
            for flight, frozen in landed:
                self._flights.leave(flight)
                flight.land(frozen)
        finally:
            if not ends:
                await turn.end()

    async def _wait_for_many(
        self, flights: list[Flight], compute: ComputeMany, plan: Plan, *, tries: int
    ) -> None:
        """Take what other processes compute; compute what they did not."""
        try:
            keys = [flight.key for flight in flights]
            hits = await self._turns.wait(keys, plan, until=deadline())
        except BaseException as error:
            self._crash(flights, error, plan)
            if not isinstance(error, Exception):
                raise
            return
        flights = self._land_found(flights, hits, plan)
        if flights:
            await self._compute_many(flights, compute, plan, tries=tries + 1)

    def _land_found(
        self, flights: list[Flight], hits: Mapping[str, Hit], plan: Plan
    ) -> list[Flight]:
        """End the flights whose results turned out to be there; returns the others."""
        for flight in flights:
            hit = flight.found = hits.get(flight.key)
            if hit is not None:
                self._flights.leave(flight)
                flight.land(freeze(hit.value, plan.codec))
        return [flight for flight in flights if flight.found is None]

    # --- endings ---------------------------------------------------------------------------------

    def _landed(self, flight: Flight, frozen: Frozen, leads: bool) -> Hit:
        if leads:
            found = flight.found
            if found is not None:
                return Hit(frozen.original, found.source, found.age)
            return Hit(frozen.original, "computed")
        self.coalesced.value += 1
        return Hit(frozen.give(), "inflight")

    def _rescue(self, key: str, plan: Plan) -> Hit:
        """Within an except block: the last value there is, or the error that is being handled."""
        hit = self._cascade.last_resort(key, plan) if plan.on_error == "stale" else None
        if hit is None:
            raise
        self.stale.value += 1
        return hit

    def _crash(self, flights: list[Flight], error: BaseException, plan: Plan) -> None:
        self.failed.value += 1
        for flight in flights:  # before anything that could fail: they wait without a time limit
            self._flights.leave(flight)
            flight.crash(gone(error))
        log.debug("cache.computation_failed", function=plan.label, error=type(error).__name__)


def _pair(
    flights: Sequence[Flight], values: Sequence[Any], plan: Plan
) -> list[tuple[Flight, Frozen]]:
    """Each flight with its value; raises CacheError when there is not one for each."""
    if len(values) != len(flights):
        raise CacheError(
            f"{plan.label or 'the batch function'} returned {len(values)} results for "
            f"{len(flights)} items; it must return one for each, in order"
        )
    return [(flight, freeze(v, plan.codec)) for flight, v in zip(flights, values, strict=True)]


def _in_order(keys: Sequence[str], hits: dict[str, Hit]) -> list[Hit]:
    """One hit per key; a key that is asked for twice gets its value twice, not shared."""
    given: set[str] = set()
    answers = []
    for key in keys:
        hit = hits[key]
        answers.append(hit if key not in given else _apart(hit))
        given.add(key)
    return answers


def _apart(hit: Hit) -> Hit:
    import copy

    try:
        return Hit(copy.deepcopy(hit.value), hit.source, hit.age, hit.stale)
    except Exception:  # what cannot be copied is shared
        return hit
