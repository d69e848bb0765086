"""Where statistics are added up: a number per day, kind and name.

`CounterStore` keeps them in the database, `HubCounters` in what all servers share when that is
Redis: every counter of every request of a window in one round trip. Both add a batch once, however
often it is handed over, so what failed half-way can be tried again and is exact afterwards.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

DAY: Final = 86_400_000  # milliseconds
READS: Final = 8  # hashes that are asked for at once


class Place(NamedTuple):
    """What a number counts. `day` is its first instant, in milliseconds since 1970, UTC."""

    day: int
    kind: str
    name: str


class Batch(msgspec.Struct, frozen=True):
    """What one window gathered; `number` counts the batches of `source`, a process."""

    source: str
    number: int
    since: int  # the day on which the process began
    counts: dict[Place, int]


class Top(NamedTuple):
    """The names with the highest numbers, and how many names there are."""

    names: int
    highest: list[tuple[str, int]]


class Counters(Protocol):
    """Adds up and reads. Raises StorageError or another error where it cannot."""

    @property
    def kept_in(self) -> Literal["database", "redis"]:
        """What has the numbers of today."""

    async def add(self, batch: Batch) -> int:
        """Add what a batch counts. A batch that was added before changes nothing.

        Batches of one source come in order; how many of those before are on record no more.
        """

    async def rows(
        self, kinds: Sequence[str], first: int, last: int, *, names: Sequence[str] | None = None
    ) -> dict[Place, int]:
        """The numbers of these kinds on the days from `first` to `last`, of `names` or all."""

    async def top(self, kind: str, first: int, last: int, *, limit: int) -> Top:
        """The highest sums over the days by name."""


class Shared(Protocol):
    """The part of a hub that shared counters need."""

    async def add(self, counters: Mapping[str, Mapping[str, int]], *, once: str = "") -> int:
        """Add to fields of hashes in one round trip; a second call with the same `once` does not.

        `x:7` is the 7th call of `x`; how many before it are lost. Raises StorageUnavailable.
        """

    async def read(self, name: str) -> dict[str, int]:
        """All fields of a hash."""


class HubCounters:
    """Counters in what all servers share; those of `earlier` are read with them."""

    kept_in: Final = "redis"

    def __init__(self, hub: Shared, *, earlier: Counters | None = None) -> None:
        self._hub = hub
        self._earlier = earlier

    async def add(self, batch: Batch) -> int:
        hashes: dict[str, dict[str, int]] = {}
        for place, value in batch.counts.items():
            hashes.setdefault(_hash(place.day, place.kind), {})[place.name] = value
        return await self._hub.add(hashes, once=f"{batch.source}:{batch.number}")

    async def rows(
        self, kinds: Sequence[str], first: int, last: int, *, names: Sequence[str] | None = None
    ) -> dict[Place, int]:
        found: Counter[Place] = Counter()
        if self._earlier is not None:
            found.update(await self._earlier.rows(kinds, first, last, names=names))
        wanted = None if names is None else frozenset(names)
        asked = [(day, kind) for kind in kinds for day in range(first, last + 1, DAY)]
        for (day, kind), fields in zip(asked, await self._read(asked), strict=True):
            for name, value in fields.items():
                if wanted is None or name in wanted:
                    found[Place(day, kind, name)] += value
        return dict(found)

    async def top(self, kind: str, first: int, last: int, *, limit: int) -> Top:
        sums: Counter[str] = Counter()
        for place, value in (await self.rows([kind], first, last)).items():
            sums[place.name] += value
        return ranked(sums, limit)

    async def _read(self, asked: Iterable[tuple[int, str]]) -> list[dict[str, int]]:
        turns = asyncio.Semaphore(READS)

        async def one(day: int, kind: str) -> dict[str, int]:
            async with turns:
                return await self._hub.read(_hash(day, kind))

        return list(await asyncio.gather(*(one(day, kind) for day, kind in asked)))


def ranked(sums: Mapping[str, int], limit: int) -> Top:
    """The highest of sums by name."""
    order = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return Top(len(sums), order[:limit])


@lru_cache(maxsize=4096)
def _hash(day: int, kind: str) -> str:
    """A name that people who look into Redis can read."""
    return f"statistics:{datetime.fromtimestamp(day / 1000, UTC):%Y-%m-%d}:{kind}"
