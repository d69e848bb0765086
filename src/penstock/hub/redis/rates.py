"""Rate limits over all servers without a round trip per request.

Redis counts (see `scripts.RATES`); a server leases a share of a limit, a tenth of a second's worth,
and grants from it. Who comes first, or when the share is used up, gets one on credit, at most a
share of them, which is booked right after. Small limits, below ten a second, have no shares: each
request is counted in Redis before it is granted, all that ask at once in one round trip.

A refusal is remembered until it ends. Without Redis, or when it takes too long, a server counts
alone from what it last knew, and books that when Redis is back; so both together never grant more
than what each of them would have alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import ceil
from typing import Any, Final

from penstock.clock import Clock
from penstock.hub.hub import Grant
from penstock.hub.redis import scripts
from penstock.hub.redis.link import is_cancelled
from penstock.net.redis import FAULTS, ask

SHARE_SECONDS: Final = 0.1
LARGE: Final = 10.0  # requests a second from which on a limit has shares
PATIENCE: Final = 0.05  # seconds that a request waits for Redis
IDLE: Final = 1.0  # seconds after which unused tokens go back
MAX_NAMES: Final = 10_000
AT_ONCE: Final = 200  # names in one round trip


class Rates:
    """The limits that one process counts; `up` says whether Redis can be asked."""

    def __init__(
        self,
        client: Any,
        *,
        prefix: str,
        clock: Clock,
        up: Callable[[], bool],
        timeout: float = PATIENCE,
    ) -> None:
        self._timeout = timeout
        self._client = client
        self._ask = client.register_script(scripts.RATES)
        self._prefix = prefix
        self._now = clock.monotonic
        self._up = up
        self._shares: dict[str, _Share] = {}
        self._due: dict[str, _Share] = {}  # to be booked
        self._leased: dict[str, _Share] = {}  # with tokens that may have to go back
        self._lock = threading.Lock()
        self._kick = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.round_trips = 0

    def take(self, name: str, *, limit: int, window: float, at: float) -> Grant | Awaitable[Grant]:
        """See Hub. Awaitables are for the loop of this object."""
        with self._lock:
            share = self._share(name, limit, window)
            grant = self._at_once(share, at)
            if grant is not None:
                return grant
            turn: asyncio.Future[Grant] = self._loop.create_future()
            share.waiting.append(turn)
            self._want(share)
        return self._wait(share, turn, at)

    def take_at_once(self, name: str, *, limit: int, window: float, at: float) -> Grant:
        """See Hub. For any thread."""
        with self._lock:
            share = self._share(name, limit, window)
            grant = self._at_once(share, at)
            if grant is None:
                grant = share.grant_alone(at)
                self._want(share)
            return grant

    def changed(self, *, up: bool) -> None:
        """Redis went, or is back, perhaps without its memory: book what was granted meanwhile."""
        if not up:
            self._kick.set()
            return
        with self._lock:
            for share in self._shares.values():
                share.is_news = True
                if share.debt:
                    self._due[share.name] = share
        self._kick.set()

    def renew_lock(self) -> None:
        """In a child process: nobody is left who would release the old one."""
        self._lock = threading.Lock()

    async def run(self) -> None:
        """Book until cancelled."""
        while not is_cancelled():
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE if self._leased else None):
                    await self._kick.wait()
            self._kick.clear()
            while self._up() and (due := self._collect()):
                await self._book(due)
            if not self._up():
                self._answer_alone()

    def _share(self, name: str, limit: int, window: float) -> _Share:
        share = self._shares.get(name)
        if share is None or share.limit != limit or share.window != window:
            if len(self._shares) >= MAX_NAMES:
                self._drop_oldest()
            share = self._shares[name] = _Share(name, limit, window)
        return share

    def _drop_oldest(self) -> None:
        for name, share in self._shares.items():
            if not share.waiting:
                del self._shares[name]
                self._due.pop(name, None)
                self._leased.pop(name, None)
                return

    def _at_once(self, share: _Share, at: float) -> Grant | None:
        """An answer that needs nobody else's knowledge."""
        if share.tokens:
            share.tokens -= 1
            if share.tokens * 4 < share.size:
                self._want(share)
            return share.use(at)
        if at < share.refused_until:
            return share.refuse(at)
        if not self._up():
            return share.grant_alone(at)
        if share.size and share.debt < share.size and share.has_room(at):
            self._want(share)
            return share.grant_alone(at)
        return None

    def _want(self, share: _Share) -> None:
        self._due[share.name] = share
        if not self._kick.is_set():
            if threading.get_ident() == self._thread:
                self._kick.set()
            else:
                self._loop.call_soon_threadsafe(self._kick.set)

    async def _wait(self, share: _Share, turn: asyncio.Future[Grant], at: float) -> Grant:
        try:
            async with asyncio.timeout(self._timeout):
                return await turn
        except TimeoutError:
            with self._lock:
                return share.grant_alone(at)

    def _collect(self) -> list[_Asked]:
        """What the next round trip is about."""
        now = self._now()
        with self._lock:
            for name, share in list(self._leased.items()):
                if not share.tokens:
                    del self._leased[name]
                elif now >= share.leased_until:
                    self._due[name] = share
            names = list(self._due)[:AT_ONCE]
            return [self._due.pop(name).ask(now) for name in names]

    async def _book(self, asked: list[_Asked]) -> None:
        keys = [f"{self._prefix}rate:{one.share.name}" for one in asked]
        args = [part for one in asked for part in one.terms()]
        try:
            replies = await ask(self._client, lambda: self._ask(keys=keys, args=args))
        except FAULTS:
            now = self._now()
            with self._lock:
                for one in asked:
                    one.share.unanswered(one, now)
                    if one.share.debt:
                        self._due[one.share.name] = one.share
            await asyncio.sleep(PATIENCE)  # the link will notice; meanwhile not in a tight circle
            return
        self.round_trips += 1
        now = self._now()
        with self._lock:
            for one, (granted, ahead) in zip(asked, replies, strict=True):
                one.share.answered(one, granted, ahead / 1e6, now)
                if one.share.tokens:
                    self._leased[one.share.name] = one.share

    def _answer_alone(self) -> None:
        now = self._now()
        with self._lock:
            for share in self._due.values():
                share.answer_alone(now)


class _Share:
    """One limit as this process knows it. Times on the machine's monotonic clock.

    `full_at` is when the whole limit is free again, by all that is known: what Redis said, without
    the tokens that were leased and not used, with what was granted on credit.
    """

    __slots__ = (
        *("debt", "full_at", "interval", "is_news", "leased_until", "limit", "name"),
        *("refused_until", "size", "tokens", "waiting", "window"),
    )

    def __init__(self, name: str, limit: int, window: float) -> None:
        self.name = name
        self.limit = limit
        self.window = window
        self.interval = window / limit
        rate = limit / window
        self.size = max(1, int(rate * SHARE_SECONDS)) if rate >= LARGE else 0
        self.full_at = 0.0
        self.tokens = 0
        self.leased_until = 0.0
        self.debt = 0
        self.refused_until = 0.0
        self.is_news = True  # Redis may not know what is known here
        self.waiting: list[asyncio.Future[Grant]] = []

    def has_room(self, at: float) -> bool:
        """Whether, by what is known here, one more is allowed."""
        return max(self.full_at, at) + self.interval - at <= self.window * (1 + 1e-9)

    def use(self, at: float) -> Grant:
        """Grant one that is paid for, or on credit."""
        self.full_at = max(self.full_at, at) + self.interval
        ahead = self.full_at - at
        return Grant(True, max(0, int((self.window - ahead) / self.interval + 1e-6)), 0.0, ahead)

    def refuse(self, at: float) -> Grant:
        ahead = max(0.0, self.full_at - at)
        retry = max(self.refused_until - at, ahead + self.interval - self.window)
        return Grant(False, 0, max(0.001, retry), ahead)

    def grant_alone(self, at: float) -> Grant:
        """Decide without Redis."""
        if not self.has_room(at):
            return self.refuse(at)
        self.debt += 1
        return self.use(at)

    def ask(self, now: float) -> _Asked:
        """Put together what Redis is told and asked; changes what that hands over."""
        self.waiting = [turn for turn in self.waiting if not turn.done()]
        back = 0
        if self.tokens and now >= self.leased_until:
            back, self.tokens = self.tokens, 0
        ahead = max(0.0, self.full_at - now)
        owed = min(self.debt, ceil(ahead / self.interval))
        known = max(0.0, ahead - owed * self.interval) if self.is_news else 0.0
        more = 0 if back else max(0, self.size - self.tokens)
        self.debt = 0
        return _Asked(self, known, back, owed, len(self.waiting) + more)

    def answered(self, asked: _Asked, granted: int, ahead: float, now: float) -> None:
        """Take in the answer and pass it on."""
        self.is_news = False
        self.tokens += granted
        self.leased_until = now + IDLE
        unpaid = self.debt * self.interval  # what was granted since it was asked
        self.full_at = now + max(0.0, ahead - self.tokens * self.interval + unpaid)
        if granted < asked.wanted:
            self.refused_until = now + max(0.0, ahead + self.interval - self.window)
        waiting, self.waiting = self.waiting, []
        for turn in waiting:
            if turn.done():
                continue
            if self.tokens:
                self.tokens -= 1
                turn.set_result(self.use(now))
            elif granted < asked.wanted:
                turn.set_result(self.refuse(now))
            else:
                self.waiting.append(turn)  # came after the question

    def unanswered(self, asked: _Asked, now: float) -> None:
        """It may have arrived: what was owed is owed still, what was given back is gone."""
        self.debt += asked.owed
        self.answer_alone(now)

    def answer_alone(self, now: float) -> None:
        waiting, self.waiting = self.waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(self.grant_alone(now))


class _Asked:
    """One name's part of a round trip."""

    __slots__ = ("back", "known", "owed", "share", "wanted")

    def __init__(self, share: _Share, known: float, back: int, owed: int, wanted: int) -> None:
        self.share = share
        self.known = known
        self.back = back
        self.owed = owed
        self.wanted = wanted

    def terms(self) -> tuple[int | float, ...]:
        """What the script reads: times in microseconds."""
        share = self.share
        return (
            share.limit,
            share.window * 1e6,
            round(self.known * 1e6),
            self.back,
            self.owed,
            self.wanted,
        )
