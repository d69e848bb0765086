"""Leaves a broken tier alone for a while, and says so once."""

from __future__ import annotations

from penstock.clock import Clock
from penstock.observe.logging import get_logger

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0

log = get_logger("penstock.cache")


class Breaker:
    """Opens at the `after`-th failure in a row and lets one attempt through after each pause.

    Pauses double from a second to half a minute. An outage is logged when it begins and when it
    ends.
    """

    def __init__(self, tier: str, clock: Clock, *, after: int = 3) -> None:
        self.detail: str | None = None
        self.errors = 0
        self._tier = tier
        self._clock = clock
        self._after = after
        self.in_a_row = 0
        self._pause = 0.0
        self._retry_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is an outage."""
        return self._pause > 0

    def allows(self) -> bool:
        """Whether to try; during an outage true once per pause."""
        if not self._pause:
            return True
        now = self._clock.monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + self._pause
        return True

    def is_due(self) -> bool:
        """Whether `allows` would say yes."""
        return not self._pause or self._clock.monotonic() >= self._retry_at

    def succeeded(self) -> None:
        """Note that the tier works."""
        self.in_a_row = 0
        if self._pause:
            self._pause = 0.0
            self.detail = None
            log.info("cache.tier_up", tier=self._tier)

    def failed(self, error: BaseException) -> None:
        """Note that the tier failed."""
        self.errors += 1
        self.in_a_row += 1
        if self.in_a_row < self._after:
            return
        if not self._pause:
            log.warning("cache.tier_down", tier=self._tier, error=str(error))
        self.detail = str(error)
        self._pause = min(max(FIRST_PAUSE, self._pause * 2), LONGEST_PAUSE)
        self._retry_at = self._clock.monotonic() + self._pause
