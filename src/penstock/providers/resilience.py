"""Calls that survive a bad day of their provider, or fail soon and say why.

    deadline ─► breaker ─► turn (adaptive concurrency) ─► place (all servers) ─► provider ─► answer
                  │open         │too many wait               │                     │time-out, 429
                  └─────────────┴────────────────────────────┴─────────────────────┴─► retry, next

`Resilient` is a provider over one or more providers. The rest of the list answers when the first
cannot. A failure stays an error: what it means for a text is the policy's business.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, NamedTuple, cast

import msgspec

from penstock.clock import Clock
from penstock.errors import (
    ProviderError,
    ProviderGarbage,
    ProviderThrottled,
    ProviderTimeout,
    ProviderUnavailable,
)
from penstock.hub.hub import Hub, Lease
from penstock.observe.metrics import Metrics
from penstock.providers.breaker import Breaker, State
from penstock.providers.concurrency import AdaptiveLimit
from penstock.providers.provider import Provider, Scores, Seer, seer

Ask = Callable[[Provider, float], Awaitable[Scores]]
"""Puts a question to a provider, which has so many seconds."""

Subject = Literal["text", "image"]
Told = Callable[[Subject, float, bool], None]
"""Hears of a call: what it was about, how many seconds it took, whether it failed."""

_SLACK = 1.0  # seconds that a place lasts beyond its call

_STATE_VALUES: Mapping[State, float] = {"closed": 0.0, "half_open": 0.5, "open": 1.0}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How patient to be with a provider. Times in seconds."""

    deadline: float = 20.0  # for everything: waiting, calls, retries, fallback
    retries: int = 2  # beyond the first call, per provider
    backoff: float = 0.5  # the longest wait before the first retry; doubles with each
    max_backoff: float = 8.0
    breaker_failures: int = 5  # in a row, until calls stop
    breaker_cooldown: float = 10.0  # until one call may try again
    concurrency: int = 16  # most calls at once, over all servers; fewer while it throttles
    max_waiting: int = 1000  # calls that wait for their turn
    patience: float = (
        5.0  # a time-out of a call that had less time than this is not held against it
    )


class Resilient:
    """Several providers as one that is as available as the best of them.

    Its `models` are those of all: which one answers is known only afterwards (`Scores.provider`).
    Images are shown to those among them that see. With a `hub` that several servers share, they
    share the limit of calls at once too. `told` hears of every call: what was asked about, seconds,
    whether it failed. `draw` gives jitter: a number between 0 and its argument.
    """

    def __init__(
        self,
        provider: Provider,
        *fallbacks: Provider,
        clock: Clock,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
        hub: Hub | None = None,
        told: Told | None = None,
        draw: Callable[[float], float] | None = None,
    ) -> None:
        providers = (provider, *fallbacks)
        self.name = provider.name
        self.models: Mapping[str, str] = {
            name: version for each in providers for name, version in each.models.items()
        }
        self._limits = limits or Limits()
        self._clock = clock
        self._lanes = [
            _Lane(
                each,
                clock=clock,
                limits=self._limits,
                metrics=metrics or Metrics(),
                hub=hub,
                told=told,
                draw=draw or (lambda most: random.uniform(0.0, most)),
            )
            for each in providers
        ]
        self._seeing = [lane for lane in self._lanes if seer(lane.provider)]
        self.sees = bool(self._seeing)
        self.sights: Mapping[str, str] = {
            name: version
            for each in map(seer, providers)
            if each is not None
            for name, version in each.sights.items()
        }

    @property
    def states(self) -> dict[str, State]:
        """The breaker of each provider, for the health report."""
        return {lane.provider.name: lane.breaker.state for lane in self._lanes}

    async def moderate(self, text: str, *, deadline: float | None = None) -> Scores:
        def ask(provider: Provider, time: float) -> Awaitable[Scores]:
            return provider.moderate(text, deadline=time)

        return await self._first(self._lanes, ask, deadline, about="text")

    async def look(
        self, picture: bytes, media_type: str, *, deadline: float | None = None
    ) -> Scores:
        assert self.sees, "providers that do not see were shown an image"

        def ask(provider: Provider, time: float) -> Awaitable[Scores]:
            return cast(Seer, provider).look(picture, media_type, deadline=time)

        return await self._first(self._seeing, ask, deadline, about="image")

    async def aclose(self) -> None:
        for lane in self._lanes:
            await lane.aclose()

    async def _first(
        self, lanes: Sequence[_Lane], ask: Ask, deadline: float | None, *, about: Subject
    ) -> Scores:
        """The answer of the first provider that gives one."""
        limit = self._limits.deadline
        time = min(deadline, limit) if deadline is not None else limit
        ends = self._clock.monotonic() + time
        errors: list[ProviderError] = []
        paid: list[ProviderError] = []  # every failed attempt

        async def attempt(provider: Provider, time: float) -> Scores:
            try:
                return await ask(provider, time)
            except ProviderError as error:
                paid.append(error)
                raise

        for lane in lanes:
            # A provider that hangs must leave time for the one behind it.
            share = 1.0 if lane is lanes[-1] else 0.75
            now = self._clock.monotonic()
            try:
                scores = await lane.ask(attempt, ends=now + (ends - now) * share, about=about)
            except ProviderError as error:
                errors.append(error)
            else:
                tokens_in, tokens_out, cost_micros = _paid(paid)
                return msgspec.structs.replace(
                    scores,
                    provider=lane.provider.name,
                    tokens_in=scores.tokens_in + tokens_in,
                    tokens_out=scores.tokens_out + tokens_out,
                    cost_micros=scores.cost_micros + cost_micros,
                )
        failure = errors[0]  # the first choice's is the one to repair
        failure.tokens_in, failure.tokens_out, failure.cost_micros = _paid(paid)
        raise failure


def _paid(errors: Sequence[ProviderError]) -> tuple[int, int, int]:
    """What failed attempts cost together: tokens in, tokens out, micros."""
    return (
        sum(each.tokens_in for each in errors),
        sum(each.tokens_out for each in errors),
        sum(each.cost_micros for each in errors),
    )


class _Turn(NamedTuple):
    """Leave to call: the round of the local limit, and the place among all servers' calls."""

    round: int
    place: Lease | None


class _Lane:
    """One provider with its breaker, its limit and its pause."""

    def __init__(
        self,
        provider: Provider,
        *,
        clock: Clock,
        limits: Limits,
        metrics: Metrics,
        hub: Hub | None,
        told: Told | None,
        draw: Callable[[float], float],
    ) -> None:
        self.provider = provider
        self._hub = hub
        self._told = told
        self._giving_back: set[asyncio.Future[bool]] = set()
        self.breaker = Breaker(
            clock=clock, threshold=limits.breaker_failures, cooldown=limits.breaker_cooldown
        )
        self._limit = AdaptiveLimit(highest=limits.concurrency, max_waiting=limits.max_waiting)
        self._quiet_until = float("-inf")
        self._clock = clock
        self._limits = limits
        self._metrics = metrics
        self._draw = draw

    async def ask(self, ask: Ask, *, ends: float, about: Subject) -> Scores:
        """Call until it answers, the retries are used up or the time is."""
        failure: ProviderError | None = None
        attempt = 0
        while True:
            try:
                turn = await self._admit(ends)
            except ProviderError:
                self._count("not_called")
                if failure is not None:
                    raise failure  # noqa: B904 - it has its own cause, and is what went wrong
                raise
            try:
                return await self._call(ask, ends=ends, round_=turn.round, about=about)
            except ProviderError as error:
                failure = error
                wait = self._wait_before_retry(error, attempt)
                # Waiting in vain would only keep the caller from acting on the failure.
                if wait is None or self._clock.monotonic() + wait >= ends:
                    raise
            finally:
                self._leave(turn)
            await self._clock.sleep(wait)
            attempt += 1

    async def aclose(self) -> None:
        """Close the provider; what was given back arrives first."""
        await asyncio.gather(*self._giving_back)
        await self.provider.aclose()

    def _leave(self, turn: _Turn) -> None:
        """Let the next one in, here and on other servers, without a wait for the answer."""
        self._limit.release()
        self._show()
        if turn.place is not None:
            giving = asyncio.ensure_future(turn.place.release())
            self._giving_back.add(giving)
            giving.add_done_callback(self._giving_back.discard)

    def _wait_before_retry(self, error: ProviderError, attempt: int) -> float | None:
        """Seconds with full jitter, at least what the provider asked for; None: do not retry."""
        # An unreadable answer was paid for, and asked for twice where that could help.
        again = error.retryable and not isinstance(error, ProviderGarbage)
        if not again or attempt >= self._limits.retries:
            return None
        most = min(self._limits.max_backoff, self._limits.backoff * 2.0**attempt)
        return (error.retry_after or 0.0) + self._draw(most)

    async def _admit(self, ends: float) -> _Turn:
        """Wait until a call may go out. Whoever cannot be served in time hears it at once."""
        if self.breaker.state == "open":
            self._refuse_while_open(self.breaker.enter())
        self._pause_before(ends)
        round_ = await self._turn(ends)
        try:
            # With the turn in hand, so that those behind wait in the bounded queue.
            while (pause := self._pause_before(ends)) > 0:
                await self._clock.sleep(pause)
            place = await self._place(ends)
        except BaseException:
            self._limit.release()
            raise
        turn = _Turn(round_, place)
        try:
            self._refuse_while_open(self.breaker.enter())
        except BaseException:
            self._leave(turn)
            raise
        return turn

    def _refuse_while_open(self, seconds: float) -> None:
        if seconds > 0:
            raise ProviderUnavailable(
                f"{self.provider.name} is not called for {seconds:.1f} s: "
                f"{self._limits.breaker_failures} calls in a row failed",
                retry_after=seconds,
            )

    def _pause_before(self, ends: float) -> float:
        """Seconds left of the Retry-After that any call was given."""
        now = self._clock.monotonic()
        if now >= ends:
            raise ProviderTimeout(f"no time was left to call {self.provider.name}")
        pause = self._quiet_until - now
        if now + pause >= ends:
            raise ProviderThrottled(
                f"{self.provider.name} asked for {pause:.1f} s without calls", retry_after=pause
            )
        return pause

    async def _turn(self, ends: float) -> int:
        try:
            async with asyncio.timeout(ends - self._clock.monotonic()):
                return await self._limit.acquire()
        except TimeoutError as error:
            raise self._busy(self._limit.limit) from error

    async def _place(self, ends: float) -> Lease | None:
        """A place among the calls of all servers.

        It ends with the call's time, should this server not live to give it back.
        """
        if self._hub is None:
            return None
        left = ends - self._clock.monotonic()
        most = self._limits.concurrency
        name = f"provider:{self.provider.name}"
        place = await self._hub.slot(name, limit=most, seconds=left + _SLACK, wait=left)
        if place is None:
            raise self._busy(most, where=" over all servers")
        return place

    def _busy(self, most: int, *, where: str = "") -> ProviderTimeout:
        return ProviderTimeout(
            f"{self.provider.name} was busy for too long: {most} calls at once{where}, "
            f"{self._limit.waiting} waiting"
        )

    async def _call(self, ask: Ask, *, ends: float, round_: int, about: Subject) -> Scores:
        started = self._clock.monotonic()
        time = ends - started
        outcome = "ok"
        try:
            async with asyncio.timeout(time):
                scores = await ask(self.provider, time)
        except TimeoutError as error:
            outcome = "timeout"
            failure = ProviderTimeout(f"{self.provider.name} did not answer within {time:.3g} s")
            self._blame(failure, time=time, round_=round_)
            raise failure from error
        except ProviderError as error:
            outcome = error.slug.removeprefix("provider-")
            self._blame(error, time=time, round_=round_)
            raise
        except BaseException as error:
            outcome = "cancelled" if isinstance(error, asyncio.CancelledError) else "error"
            self.breaker.left()
            raise
        else:
            self.breaker.succeeded()
            self._limit.grow()
            return scores
        finally:
            seconds = self._clock.monotonic() - started
            self._metrics.observe("penstock_provider_seconds", seconds, provider=self.provider.name)
            self._count(outcome)
            if self._told is not None:
                self._told(about, seconds, outcome != "ok")

    def _blame(self, error: ProviderError, *, time: float, round_: int) -> None:
        """Draw the conclusions from a failed call."""
        match error:
            case ProviderThrottled():
                self.breaker.succeeded()  # it lives, it is only busy
                self._limit.shrink(of=round_)
                pause = min(error.retry_after or 0.0, self._limits.deadline)
                self._quiet_until = max(self._quiet_until, self._clock.monotonic() + pause)
            case ProviderTimeout() if time < self._limits.patience:
                self.breaker.left()  # the caller's hurry, not the provider's fault
            case ProviderTimeout():
                self._limit.shrink(of=round_)
                self.breaker.failed()
            case ProviderUnavailable():
                self.breaker.failed()
            case ProviderGarbage():
                self.breaker.left()  # a text can bring it about: it tells nothing of the provider
            case _:
                self.breaker.succeeded()  # it refused this request, as one that is up does

    def _count(self, outcome: str) -> None:
        name = self.provider.name
        self._metrics.count("penstock_provider_calls_total", provider=name, outcome=outcome)

    def _show(self) -> None:
        name, metrics = self.provider.name, self._metrics
        metrics.gauge("penstock_provider_concurrency_limit", self._limit.limit, provider=name)
        metrics.gauge("penstock_provider_waiting", self._limit.waiting, provider=name)
        state = _STATE_VALUES[self.breaker.state]
        metrics.gauge("penstock_provider_breaker_open_ratio", state, provider=name)
