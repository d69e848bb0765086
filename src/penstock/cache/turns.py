"""Whose turn it is to compute a key, among all processes that share a remote tier.

    acquire "flight:<key>"  ──►  look into the tier  ──►  compute  ──►  write behind  ──►  release
              │ held elsewhere
              └► wait until it is released (told by the hub), look into the tier; if nothing came of
                 it, acquire

The lease is for saving work, never for being right: one that ends early, a hub that is away or an
owner that takes too long make two processes compute the same. So every wait has an end, and where
nobody can be asked everybody computes for themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock.cache.cascade import Cascade
from penstock.cache.entry import Hit
from penstock.cache.plan import Plan
from penstock.cache.remote import Marks
from penstock.hub.hub import Hub, Lease

LEASE_SECONDS: Final = 5.0  # after which a dead owner's turn is another's
EXTEND_EVERY: Final = 1.5
PATIENCE: Final = 30.0  # seconds that others' computing is waited for; then everybody computes
TRIES: Final = 2  # turns of others that may come to nothing before one computes without a turn
LONGEST_NAME: Final = 200


class Turn:
    """What one computation holds while it runs: leases, and marks of what it is computed from."""

    def __init__(self, leases: Sequence[Lease] = (), marks: Mapping[str, Marks] | None = None):
        self.marks = marks or {}
        self._leases = list(leases)
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Future[Any] | None = None
        if self._leases:
            self._extend_later()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held, and nothing can be written by it."""
        return not (self._leases or any(self.marks.values()))

    async def end(self) -> None:
        """Let others have it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await release(self._leases)
        self._leases = []

    def _extend_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EXTEND_EVERY, self._extend)

    def _extend(self) -> None:
        extending = [lease.extend(LEASE_SECONDS) for lease in self._leases]
        self._task = asyncio.gather(*extending, return_exceptions=True)
        self._extend_later()


class Taken:
    """What came of asking for a turn: hits that were there, a turn, keys that others compute."""

    def __init__(
        self,
        hits: dict[str, Hit],
        turn: Turn,
        elsewhere: Sequence[str] = (),
    ) -> None:
        self.hits = hits
        self.turn = turn
        self.elsewhere = list(elsewhere)


class Turns:
    """Asks the hub for leases and the remote tiers for what others computed."""

    def __init__(self, hub: Hub, cascade: Cascade) -> None:
        self._hub = hub
        self._cascade = cascade

    async def take(self, keys: Sequence[str], plan: Plan, *, alone: bool = False) -> Taken:
        """Ask once; with `alone`, compute whatever others do."""
        if not self._cascade.is_shared(plan):
            return Taken({}, Turn())
        leases: dict[str, Lease | None] = {} if alone else await self._acquire(keys)
        elsewhere = [key for key, lease in leases.items() if lease is None]
        mine = [key for key in keys if key not in elsewhere] if elsewhere else keys
        held = {key: lease for key, lease in leases.items() if lease is not None}
        try:
            hits, marks = await self._cascade.look(mine, plan)
        except BaseException:
            await release(list(held.values()))
            raise
        if hits:
            await release([held.pop(key) for key in hits if key in held])
        return Taken(hits, Turn(list(held.values()), marks), elsewhere)

    async def take_one(
        self, key: str, plan: Plan, *, anew: bool = False, alone: bool = False
    ) -> tuple[Hit | None, Turn]:
        """What another process computed meanwhile, or a turn to compute.

        With `alone` nobody is waited for; with `anew` what is there does not count either.
        """
        until, tries = deadline(), 0
        while True:
            taken = await self.take((key,), plan, alone=anew or alone or tries == TRIES)
            if not taken.elsewhere:
                return (None if anew else taken.hits.get(key)), taken.turn
            hits = await self.wait((key,), plan, until=until)
            if hits:
                return hits[key], Turn()
            tries = TRIES if _is_over(until) else tries + 1

    async def wait(self, keys: Sequence[str], plan: Plan, *, until: float) -> dict[str, Hit]:
        """Return when others have ended their turns, or it takes too long: what came of them."""
        left = max(0.0, until - asyncio.get_running_loop().time())
        waits = [self._hub.wait_released(_name(key), seconds=left) for key in keys]
        await asyncio.gather(*waits, return_exceptions=True)
        hits, _ = await self._cascade.look(keys, plan)
        return hits

    async def _acquire(self, keys: Sequence[str]) -> dict[str, Lease | None]:
        """A lease for each key, None where another process has it."""
        names = {key: _name(key) for key in keys}
        try:
            if len(names) > 1:
                got = await self._hub.acquire_many(list(names.values()), seconds=LEASE_SECONDS)
                return {key: got[name] for key, name in names.items()}
            (key, name), *_ = names.items()
            return {key: await self._hub.acquire(name, seconds=LEASE_SECONDS)}
        except Exception:  # the hub may fail
            return {}


async def release(leases: Sequence[Lease]) -> None:
    """Give leases back; a hub that is away lets them end by themselves."""
    if leases:
        await asyncio.gather(*(lease.release() for lease in leases), return_exceptions=True)


def deadline() -> float:
    """Until when others' turns are waited for."""
    return asyncio.get_running_loop().time() + PATIENCE


def _is_over(until: float) -> bool:
    return asyncio.get_running_loop().time() >= until


def _name(key: str) -> str:
    if len(key) > LONGEST_NAME:
        key = hashlib.sha256(key.encode()).hexdigest()
    return f"flight:{key}"
