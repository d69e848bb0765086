"""When a failed attempt is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec


class Retry(Exception):
    """Raised inside a task: try again, after `after` seconds where it is given.

    Providers that limit requests name the time themselves (Retry-After).
    """

    def __init__(self, message: str = "asked to be tried again", *, after: float | None = None):
        self.after = after
        super().__init__(message)


class RetryPolicy(msgspec.Struct, frozen=True):
    """Full jitter: a random wait up to `base * 2 ** (attempt - 1)`, at most `cap` seconds.

    Source: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """

    attempts: int = 3
    base: float = 1.0
    cap: float = 300.0
    on: tuple[type[BaseException], ...] = (Exception,)

    def delay(self, attempt: int, *, chance: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the failure of `attempt` (1 is the first)."""
        return chance() * min(self.cap, self.base * 2.0 ** min(attempt - 1, 1_000))
