"""What all processes of an installation have counted together, today.

    registry ── every 5 s: what was added since ──> one batch ──> a hash per day, in Redis
    registry of the sums  <── GET /api/metrics?scope=all ──────────────┘

Processes hand over differences, numbered, and each batch is added once, however often it is handed
over: sums are exact and never go back, whichever process ends. One that is killed loses its last
seconds. A histogram is one for all its labels, and a gauge stays with its process: what is the case
now is nobody's sum.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Final, NamedTuple, Protocol

import msgspec

from penstock.clock import Clock
from penstock.observe.effects import Effects
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Counter, Histogram, Metrics

EVERY: Final = 5.0  # seconds between two batches of a process
KEPT: Final = 2 * 86_400  # seconds that a day's sums stay
MOST_NUMBERS: Final = 2_000  # numbers in one batch
A_WHILE: Final = 200  # series or numbers that are looked at before others have their turn

_DAY: Final = 86_400
_MICRO: Final = 1_000_000  # whole numbers are exact: seconds and ratios are shared in millionths
_FRACTIONS: Final = ("_seconds", "_ratio")

_log = get_logger("penstock.metrics")


class Shared(Protocol):
    """The part of a hub that this needs."""

    async def add(
        self, counters: Mapping[str, Mapping[str, int]], *, once: str = "", kept: float = ...
    ) -> int:
        """Add to fields of hashes in one round trip; a second call with the same `once` does not.

        `x:7` is the 7th call of `x`; how many before it are lost. Raises StorageUnavailable.
        """

    async def read(self, name: str) -> dict[str, int]:
        """All fields of a hash. Raises StorageUnavailable."""


class Together(NamedTuple):
    """What was counted since an instant."""

    metrics: Metrics
    since: float


class _Batch(NamedTuple):
    number: int
    day: int
    numbers: dict[str, int]


class _Known(NamedTuple):
    """What was handed over of a histogram."""

    recorded: int
    sum: int
    bounds: list[int]
    buckets: dict[int, int]


class Sharing:
    """Hands over what a registry counts, and reads the sums. Belongs to one event loop."""

    def __init__(self, metrics: Metrics, hub: Shared, *, clock: Clock, effects: Effects) -> None:
        self._metrics = metrics
        self._hub = hub
        self._clock = clock
        self._source = secrets.token_hex(6)
        self._number = 0
        self._counters: dict[Counter, int] = {}  # what was handed over of each
        self._histograms: dict[Histogram, _Known] = {}
        self._added: dict[str, int] = {}  # gathered, and in no batch yet
        self._ready: deque[_Batch] = deque()
        self._turn = asyncio.Lock()
        self._effect = effects.effect(
            "metrics", self.flush, waiting=lambda: sum(len(one.numbers) for one in self._ready)
        )

    async def keep(self) -> None:
        """Have it handed over every few seconds, until cancelled."""
        while True:
            await self._clock.sleep(EVERY)
            self._effect.wake()

    async def flush(self) -> bool:
        """Hand over what was counted since. Raises what went wrong; then it waits as it is."""
        async with self._turn:
            await self._deliver()  # while that fails, what comes waits in the registry
            await self._gather()
            await self._deliver()
        return True

    async def read(self) -> Together:
        """The sums of today: with all of this process, and of others up to a few seconds ago."""
        await self.flush()
        day = self._today()
        return Together(await registry_of(await self._hub.read(_hash(day))), day)

    def _today(self) -> int:
        return int(self._clock.now()) // _DAY * _DAY

    async def _deliver(self) -> None:
        while self._ready:
            number, day, numbers = self._ready[0]
            once = f"{self._source}:{number}"
            gone = await self._hub.add({_hash(day): numbers}, once=once, kept=KEPT)
            if gone:
                _log.error("metrics.lost", batches=gone)
                self._effect.lose(gone)
            self._ready.popleft()

    async def _gather(self) -> None:
        """Make batches of what was added since the last; from here on they do not change."""
        for at, series in enumerate(self._metrics.series()):
            is_long = isinstance(series, Histogram) and self._gather_histogram(series)
            if type(series) is Counter:
                self._gather_counter(series)
            if is_long or at % A_WHILE == A_WHILE - 1:
                await asyncio.sleep(0)
        added, self._added = self._added, {}
        left, day = iter(added.items()), self._today()
        while part := dict(islice(left, MOST_NUMBERS)):
            self._number += 1
            self._ready.append(_Batch(self._number, day, part))

    def _gather_counter(self, series: Counter) -> None:
        value = round(series.value * _unit(series.name))
        more = value - self._counters.get(series, 0)
        if more:
            self._counters[series] = value
            self._add(_field(series.name, *chain.from_iterable(series.labels)), more)

    def _gather_histogram(self, series: Histogram) -> bool:
        """Says whether there was something; that took up to a fifth of a millisecond."""
        known = self._histograms.get(series) or _Known(0, 0, [0] * len(series.bounds_counts), {})
        count, total = series.count, round(series.sum * _unit(series.name))
        if (count, total) == (known.recorded, known.sum):
            return False
        now = _Known(count, total, list(series.bounds_counts), dict(series.buckets))
        self._histograms[series] = now
        for field, more in _differences(series.name, known, now):
            self._add(field, more)
        return True

    def _add(self, field: str, more: int) -> None:
        self._added[field] = self._added.get(field, 0) + more


async def registry_of(fields: Mapping[str, int]) -> Metrics:
    """The registry that shared numbers make: counters as they were, histograms without labels."""
    metrics = Metrics()
    for at, (field, value) in enumerate(fields.items()):
        name, *parts = msgspec.json.decode(field, type=list[str])
        if name.endswith("_total"):
            labels = dict(zip(parts[::2], parts[1::2], strict=True))
            metrics.count(name, value / _unit(name) if _unit(name) > 1 else value, **labels)
        else:
            _restore(metrics.histogram(name), parts, value)
        if at % A_WHILE == A_WHILE - 1:
            await asyncio.sleep(0)
    for series in metrics.series():
        if isinstance(series, Histogram):
            series.limit()
    return metrics


def _differences(name: str, before: _Known, now: _Known) -> Iterator[tuple[str, int]]:
    yield _field(name, "sum"), now.sum - before.sum
    for at, (old, new) in enumerate(zip(before.bounds, now.bounds, strict=True)):
        if new != old:
            yield _field(name, "bound", str(at)), new - old
    for bucket, new in now.buckets.items():
        if new != (old := before.buckets.get(bucket, 0)):
            yield _field(name, "bucket", str(bucket)), new - old


def _restore(series: Histogram, parts: list[str], value: int) -> None:
    match parts:
        case ["sum"]:
            series.sum = value / _unit(series.name)
        case ["bound", at] if int(at) < len(series.bounds_counts):
            series.bounds_counts[int(at)] = value
        case ["bucket", at]:
            series.buckets[int(at)] = value


def _unit(name: str) -> int:
    return _MICRO if name.removesuffix("_total").endswith(_FRACTIONS) else 1


def _field(*parts: str) -> str:
    return msgspec.json.encode(parts).decode()


def _hash(day: int) -> str:
    """A name that people who look into Redis can read."""
    return f"metrics:{datetime.fromtimestamp(day, UTC):%Y-%m-%d}"
