"""Leases that one or several holders have at a time, over all servers, and waiting for their end.

A lease is a key with its holder's token and an end; only the token's holder can give it back. Its
end is told on a channel that is listened to only while somebody waits. What many ask at once leaves
together (see `Trips`). A Redis that does not answer in time is not asked again for a second:
meanwhile every lease is granted, and says that it is not shared.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from penstock.clock import Clock
from penstock.hub.hub import Lease
from penstock.hub.redis import scripts
from penstock.hub.redis.link import is_cancelled
from penstock.hub.redis.trips import Command, Trips
from penstock.net.redis import FAULTS, connect

QUIET: Final = 1.0  # seconds without a question after one that was not answered
LOOK: Final = 0.5  # seconds after which who waits looks for himself


class Leases:
    """Hands out leases of one Redis on one loop; `up` says whether it can be asked at all."""

    def __init__(
        self, url: str, *, prefix: str, clock: Clock, up: Callable[[], bool], timeout: float
    ) -> None:
        self._quick = connect(url, timeout=timeout, connections=1, name="penstock-hub-leases")
        self._deaf = connect(url, timeout=None, connections=1, name="penstock-hub-bells")
        self._trips = Trips(self._quick)
        self._bells = Bells(self._deaf)
        self._prefix = prefix
        self._clock = clock
        self._up = up
        self._quiet_until = float("-inf")
        self._closed = False
        self._forsaken: set[asyncio.Future[bool]] = set()

    @property
    def can_ask(self) -> bool:
        """Whether Redis can be expected to answer at once."""
        return self._up() and self._clock.monotonic() >= self._quiet_until

    async def acquire_many(
        self, names: Sequence[str], *, seconds: float
    ) -> dict[str, Lease | None]:
        """See Hub."""
        leases = [RedisLease(self, name, self._key("lease", name)) for name in names]
        got: dict[str, Lease | None] = {lease.name: lease for lease in leases}
        if not self.can_ask:
            return got
        asked = (self._trips.ask(_set(lease, _ms(seconds))) for lease in leases)
        try:
            answers = await asyncio.gather(*asked, return_exceptions=True)
        except asyncio.CancelledError:
            for lease in leases:
                self._forsake(lease)
            raise
        for lease, answer in zip(leases, answers, strict=True):
            if isinstance(answer, FAULTS):
                self._fall_silent()
            elif isinstance(answer, BaseException):
                raise answer
            else:
                lease.shared = bool(answer)
                got[lease.name] = lease if lease.shared else None
        return got

    async def wait_released(self, name: str, *, seconds: float) -> bool:
        """See Hub."""
        lease = RedisLease(self, name, self._key("lease", name))
        ends = self._clock.monotonic() + seconds
        if not self.can_ask:
            return False
        try:
            async with self._bells.listen(lease.channel) as rung:
                while not rung.is_set():
                    left = await self._trips.ask(lambda pipeline: pipeline.pttl(lease.key))
                    if left < 0:
                        return True
                    mine = ends - self._clock.monotonic()
                    if mine <= 0:
                        return False
                    await _rings(rung, min(mine, (left + 1) / 1000, LOOK))
                return True
        except FAULTS:
            self._fall_silent()
            return False

    async def slot(
        self, name: str, *, limit: int, seconds: float, wait: float
    ) -> RedisLease | None:
        """See Hub."""
        lease = RedisLease(self, name, self._key("slot", name), several=True)
        if not self.can_ask:
            return lease
        ends = self._clock.monotonic() + wait
        terms = (lease.token, limit, _ms(seconds))
        try:
            if await self._take_slot(lease, terms):
                return lease
            if wait <= 0:
                return None
            async with self._bells.listen(lease.channel) as rung:
                while True:
                    rung.clear()
                    if await self._take_slot(lease, terms):
                        return lease
                    left = ends - self._clock.monotonic()
                    if left <= 0:
                        return None
                    await _rings(rung, min(left, LOOK))
        except FAULTS:
            self._fall_silent()
            lease.shared = False
            return lease
        except asyncio.CancelledError:
            self._forsake(lease)
            raise

    async def run(self, script: str, keys: list[str], args: list[str | int]) -> bool:
        """Run a script on a lease; False also when Redis cannot be asked.

        Tried while the link is being made anew, too: what is not given back holds others up.
        """
        if self._closed or self._clock.monotonic() < self._quiet_until:
            return False
        try:
            return bool(await self._run(script, keys, args))
        except FAULTS:
            self._fall_silent()
            return False

    async def _take_slot(self, lease: RedisLease, terms: tuple[str | int, ...]) -> bool:
        lease.shared = bool(await self._run(scripts.SLOT, [lease.key], terms))
        return lease.shared

    def _run(self, script: str, keys: list[str], args: Sequence[str | int]) -> asyncio.Future[Any]:
        return self._trips.ask(lambda pipeline: pipeline.eval(script, len(keys), *keys, *args))

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}:{name.encode('utf-8', 'backslashreplace').decode()}"

    def _forsake(self, lease: RedisLease) -> None:
        """Give back what may have been taken for somebody who has gone."""
        giving = asyncio.ensure_future(lease.release())
        self._forsaken.add(giving)
        giving.add_done_callback(self._forsaken.discard)

    async def aclose(self) -> None:
        """Give back what is on its way."""
        await asyncio.gather(*self._forsaken, return_exceptions=True)
        self._closed = True
        await self._trips.aclose()
        await self._bells.aclose()
        await self._quick.aclose()
        await self._deaf.aclose()

    def changed(self, *, up: bool) -> None:
        """Redis came or went; from any thread."""
        self._bells.changed(up=up)

    def _fall_silent(self) -> None:
        self._quiet_until = self._clock.monotonic() + QUIET


@dataclass(slots=True)
class RedisLease:
    """See Lease. One that is not shared is given back all the same: it may have arrived late."""

    leases: Leases = field(repr=False)
    name: str
    key: str
    several: bool = False
    shared: bool = False
    token: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def channel(self) -> str:
        """Where its end is told."""
        return f"{self.key}:ended"

    async def extend(self, seconds: float) -> bool:
        if not self.shared:
            return True
        script = scripts.EXTEND_SLOT if self.several else scripts.EXTEND
        return await self.leases.run(script, [self.key], [self.token, _ms(seconds)])

    async def release(self) -> bool:
        script = scripts.RELEASE_SLOT if self.several else scripts.RELEASE
        return await self.leases.run(script, [self.key, self.channel], [self.token])


class Bells:
    """Listens to channels for those who wait, over one connection that opens with the first."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._channels: dict[str, _Channel] = {}
        self._talk: Any = None
        self._listening: asyncio.Task[None] | None = None
        self._asking = asyncio.Lock()
        self._is_old = False

    def changed(self, *, up: bool) -> None:
        """Redis went: what this listens to may be another server than the one that comes back."""
        self._is_old = self._is_old or not up

    @asynccontextmanager
    async def listen(self, name: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the channel is told something from now on."""
        if self._is_old:
            self._is_old = False
            async with self._asking:
                await self._hang_up()
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel()
        rung = asyncio.Event()
        channel.waiting.add(rung)
        try:
            await self._subscribe(name, channel)
            yield rung
        finally:
            channel.waiting.discard(rung)
            if not channel.waiting and self._channels.get(name) is channel:
                del self._channels[name]
                await self._unsubscribe(name)

    async def aclose(self) -> None:
        """Listen no more."""
        await self._hang_up()

    async def _subscribe(self, name: str, channel: _Channel) -> None:
        async with self._asking:
            if not channel.asked:
                if self._talk is None:
                    self._talk = self._client.pubsub()
                try:
                    async with asyncio.timeout(LOOK):
                        await self._talk.subscribe(name)
                except FAULTS:
                    await self._hang_up()
                    raise
                channel.asked = True
                if self._listening is None or self._listening.done():
                    self._listening = asyncio.ensure_future(self._hear(self._talk))
        async with asyncio.timeout(LOOK):
            await channel.ready.wait()

    async def _unsubscribe(self, name: str) -> None:
        async with self._asking:
            if self._talk is None or name in self._channels:
                return
            try:
                async with asyncio.timeout(LOOK):
                    await self._talk.unsubscribe(name)
            except FAULTS:
                await self._hang_up()

    async def _hear(self, talk: Any) -> None:
        try:
            while not is_cancelled():
                told = await talk.get_message(timeout=None)
                channel = self._channels.get(told["channel"].decode()) if told else None
                if channel is None:
                    continue
                if told["type"] == "subscribe":
                    channel.ready.set()
                elif told["type"] == "message":
                    channel.ring()
        except FAULTS:
            if self._talk is talk:
                self._talk = None
            self._forget()
            with suppress(*FAULTS):
                await talk.aclose()

    async def _hang_up(self) -> None:
        talk, self._talk = self._talk, None
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
        self._forget()
        if talk is not None:
            with suppress(*FAULTS):
                await talk.aclose()

    def _forget(self) -> None:
        """Who waits looks for himself; who comes next asks anew."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.ring()


@dataclass(slots=True, eq=False)
class _Channel:
    asked: bool = False
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: set[asyncio.Event] = field(default_factory=set)

    def ring(self) -> None:
        for one in self.waiting:
            one.set()


def _set(lease: RedisLease, milliseconds: int) -> Command:
    return lambda pipeline: pipeline.set(lease.key, lease.token, nx=True, px=milliseconds)


async def _rings(rung: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await rung.wait()


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
