"""The open event streams of a process: how many there may be, and one source for many watchers.

Whoever follows the same topic hears of the same source: it is read and encoded once for each
change, however many watch.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from penstock.clock import Clock
from penstock.errors import RateLimited
from penstock.web.principal import Principal
from penstock.web.sse import Event, EventStream

MOST: Final = 1000  # open streams of a process
MOST_OF_A_KEY: Final = 100
RETRY_AFTER: Final = 15.0  # seconds
SPACING: Final = 0.25  # seconds: changes that are closer together are told as one

Source = Callable[[], AsyncIterator[Event]]


class Streams:
    """Opens event streams. `is_allowed` tells whether a key that opened one is still good."""

    def __init__(
        self,
        *,
        clock: Clock,
        is_allowed: Callable[[Principal], bool | Awaitable[bool]],
        most: int = MOST,
        most_of_a_key: int = MOST_OF_A_KEY,
        spacing: float = SPACING,
    ) -> None:
        self._clock = clock
        self._is_allowed = is_allowed
        self._most = most
        self._most_of_a_key = most_of_a_key
        self._spacing = spacing
        self._open: Counter[str] = Counter()
        self._feeds: dict[Hashable, _Feed] = {}

    def open(self, who: Principal, topic: Hashable, source: Source) -> EventStream:
        """A response with the events of a source, which all who follow the topic share.

        It is served, or refused with RateLimited where there are too many.
        """
        return EventStream(
            self.follow(topic, source),
            clock=self._clock,
            place=self._place(who.key_id),
            is_allowed=partial(self._is_allowed, who),
        )

    async def follow(self, topic: Hashable, source: Source) -> AsyncIterator[Event]:
        """The latest event, and those that come, until the source ends.

        What a slow follower missed it is not told: each event says everything.
        """
        feed = self._feeds.get(topic)
        if feed is None or feed.has_ended:
            feed = self._feeds[topic] = _Feed(source(), spacing=self._spacing)
        feed.followers += 1
        try:
            event = None
            while (event := await feed.after(event)) is not None:
                yield event
        finally:
            feed.followers -= 1
            if not feed.followers:
                if self._feeds.get(topic) is feed:
                    del self._feeds[topic]
                await feed.close()

    @contextmanager
    def _place(self, key_id: str) -> Iterator[None]:
        if self._open[key_id] >= self._most_of_a_key:
            told = f"this key has {self._most_of_a_key} event streams open"
            raise RateLimited(f"{told}; close some or ask for the state", retry_after=RETRY_AFTER)
        if self._open.total() >= self._most:
            told = f"{self._most} event streams are open on this server"
            raise RateLimited(f"{told}; ask for the state instead", retry_after=RETRY_AFTER)
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]


class _Feed:
    """Reads a source for all who follow it."""

    def __init__(self, source: AsyncIterator[Event], *, spacing: float) -> None:
        self.followers = 0
        self.has_ended = False
        self._source = source
        self._spacing = spacing
        self._latest: Event | None = None
        self._shown: Event | None = None
        self._error: Exception | None = None
        self._pulse = asyncio.Event()
        self._next_at = 0.0  # when changes may be shown again, by the loop's clock
        self._later: asyncio.TimerHandle | None = None
        self._reading = asyncio.ensure_future(self._read())

    async def after(self, seen: Event | None) -> Event | None:
        """What is shown, as soon as it is not what was seen; None at the end."""
        while self._shown is seen:
            if self.has_ended:
                if self._error is not None:
                    raise self._error.with_traceback(None)
                return None
            await self._pulse.wait()
        return self._shown

    async def close(self) -> None:
        """Read no more, and let go what the source holds."""
        if self._later is not None:
            self._later.cancel()
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        try:
            async for event in self._source:
                self._latest = event
                self._show_soon()
        except Exception as error:  # every follower is told
            self._error = error
        finally:
            self.has_ended = True
            self._show()
            close: Any = getattr(self._source, "aclose", None)
            if close is not None:
                await close()

    def _show_soon(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next_at:
            self._show()
        elif self._later is None:
            self._later = loop.call_at(self._next_at, self._show)

    def _show(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._next_at = asyncio.get_running_loop().time() + self._spacing
        self._shown = self._latest
        self._pulse.set()  # wakes who waits now
        self._pulse.clear()
