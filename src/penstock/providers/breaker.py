"""Stops calling a provider that is down, and tries again later with a single call."""

from __future__ import annotations

from typing import Literal

from penstock.clock import Clock

State = Literal["closed", "half_open", "open"]


class Breaker:
    """Opens after `threshold` failures in a row; after `cooldown` seconds one call may probe.

    Every `enter` that returns 0 is followed by exactly one of `succeeded`, `failed` and `left`.
    """

    def __init__(self, *, clock: Clock, threshold: int, cooldown: float) -> None:
        self._clock = clock
        self._threshold = threshold
        self._cooldown = cooldown
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """Closed lets all calls through, half open one, open none."""
        if self._opened_at is None:
            return "closed"
        return "open" if self._remaining() > 0 else "half_open"

    def enter(self) -> float:
        """Return 0 if a call may go out now, else the seconds after which to ask again."""
        if self._opened_at is None:
            return 0.0
        remaining = self._remaining()
        if remaining > 0:
            return remaining
        if self._probing:
            return 1.0  # the probe is under way: its end decides
        self._probing = True
        return 0.0

    def succeeded(self) -> None:
        """The provider answered."""
        self._failures = 0
        self._opened_at = None
        self._probing = False

    def failed(self) -> None:
        """The provider is down, as far as this call could tell."""
        self._failures += 1
        # Calls that went out before it opened fail late; they must not put off the probe.
        if self._probing or (self._opened_at is None and self._failures >= self._threshold):
            self._opened_at = self._clock.monotonic()
        self._probing = False

    def left(self) -> None:
        """The call ended without telling anything: it was cancelled, or its caller had no time."""
        self._probing = False

    def _remaining(self) -> float:
        assert self._opened_at is not None
        return self._opened_at + self._cooldown - self._clock.monotonic()
