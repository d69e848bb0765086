"""How far a batch is, how fast it goes and when it will be done."""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from penstock.clock import Clock

WINDOW: Final = 20.0  # seconds that the rate looks back
STEP: Final = 0.25  # seconds between two samples


class Progress(msgspec.Struct, frozen=True):
    """Items by outcome; `failed` and `cached` are among `done`."""

    done: int = 0
    total: int = 0
    failed: int = 0
    cached: int = 0
    rate_per_second: float = 0.0
    eta_seconds: float | None = None  # None: nobody knows yet

    @property
    def percent(self) -> float:
        """0..100; 100 only when every item is done."""
        if not self.total:
            return 0.0
        return min(100.0, int(1000 * self.done / self.total) / 10)


class Meter:
    """Counts what is done, and remembers the last seconds to tell the rate."""

    def __init__(
        self, clock: Clock, *, total: int = 0, done: int = 0, failed: int = 0, cached: int = 0
    ) -> None:
        self._clock = clock
        self.total = total
        self.done = done
        self.failed = failed
        self.cached = cached
        self._samples: deque[tuple[float, int]] = deque([(clock.monotonic(), done)])

    def add(self, *, failed: bool = False, cached: bool = False) -> None:
        """Count one item."""
        self.done += 1
        self.failed += failed
        self.cached += cached
        now = self._clock.monotonic()
        if now - self._samples[-1][0] >= STEP:
            self._samples.append((now, self.done))
            while now - self._samples[0][0] > WINDOW and len(self._samples) > 2:
                self._samples.popleft()

    @property
    def rate(self) -> float:
        """Items per second, lately."""
        at, done = self._samples[0]
        spent = self._clock.monotonic() - at
        return (self.done - done) / spent if spent > 0 else 0.0

    @property
    def progress(self) -> Progress:
        """The state of now."""
        rate, left = self.rate, self.total - self.done
        eta = round(left / rate, 1) if rate > 0 else None if left else 0.0
        return Progress(self.done, self.total, self.failed, self.cached, round(rate, 2), eta)
