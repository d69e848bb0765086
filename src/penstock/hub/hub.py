"""What processes of one installation share: a message log, a logical clock, generations and rate
limits.

`LocalHub` (`local.py`) serves any number of processes on one data folder; a Redis hub will serve
several machines. Every method is synchronous and never waits for a network: a hub over a network
works on what it last heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Message(NamedTuple):
    """One entry of the log, in the order in which it was published."""

    topic: str
    body: bytes


class Grant(NamedTuple):
    """The answer to one request for a token."""

    allowed: bool
    remaining: int  # requests that would still be allowed at once
    retry_after: float  # seconds until one is allowed again; 0 when allowed
    reset_after: float  # seconds until the whole limit is free again


class Hub(Protocol):
    """Shared state of one installation.

    `heads[0]` is the position behind the newest message. Reading it costs one index, so a cache hit
    can afford to look.
    """

    heads: Sequence[int]

    def publish(self, topic: str, body: bytes) -> None:
        """Append a message; every process sees it, the publisher too. At most 8 KiB."""

    def since(self, position: int) -> tuple[int, list[Message]] | None:
        """Messages after `position` and the new position.

        None when some are gone (then forget what you know).
        """

    def sequence(self) -> int:
        """The present value of the logical clock that `bump` advances; may lag, never leads."""

    def bump(self, name: str) -> int:
        """Advance the logical clock and make it the generation of `name`; returns it."""

    def generation(self, name: str) -> int:
        """When `name` was last bumped on the logical clock; 0 if never."""

    def take(self, name: str, *, limit: int, window: float, at: float) -> Grant:
        """Ask for one of `limit` requests per `window` seconds.

        `at` is the present in seconds on the machine's monotonic clock.
        """

    def close(self) -> None:
        """Release files; state stays."""
