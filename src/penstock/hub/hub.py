"""What processes of one installation share: a message log, a logical clock, generations, rate
limits, leases and counters.

`LocalHub` (`local.py`) serves the processes on one data folder, `RedisHub` (`redis/`) those of
several machines. What requests ask on their way (`heads`, `since`, `sequence`, `generation`,
`bump`, `publish`) is synchronous and never waits for a network: a hub over a network works on what
it last heard. What is awaited has a short bound, and an answer for when Redis is away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

KEPT: Final = 400 * 86_400  # seconds that counters stay: as far back as `/v1/usage` reads


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


class Lease(Protocol):
    """Something that one holder has for a while; ends by itself when its holder dies.

    `shared` is False for a lease that only this process knows of, because it is alone or because
    nobody else could be asked.
    """

    name: str
    shared: bool

    async def extend(self, seconds: float) -> bool:
        """Hold it for so many seconds from now; False when it is lost already."""

    async def release(self) -> bool:
        """Give it back and tell who waits; False when it was lost before. Never raises."""


class HubStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a hub says of itself."""

    kind: str  # local, redis
    connected: bool = True
    detail: str = ""  # what is wrong, and what to do; "" when nothing is
    url: str = ""  # without its password
    version: str = ""  # of the server
    latency_seconds: float = 0.0  # of a round trip just now
    memory_bytes: int = 0  # that the server uses
    waiting: int = 0  # messages and bumps not yet told
    lost: int = 0  # messages never told, since the start


class Hub(Protocol):
    """Shared state of one installation.

    `heads[0]` is the position behind the newest message. Reading it costs one index, so a cache hit
    can afford to look. The sequence object stays the same until the hub is closed.
    """

    heads: Sequence[int]

    @property
    def spans_machines(self) -> bool:
        """Whether others may be on other machines, with disks of their own."""

    @property
    def is_current(self) -> bool:
        """Whether this process hears what others tell; if not, look into the database yourself."""

    def publish(self, topic: str, body: bytes) -> None:
        """Append a message; every process sees it, the publisher at once. At most 8 KiB."""

    async def settled(self) -> None:
        """Return when others can hear what was told here so far, after a second at the latest.

        At once when Redis is away: they will hear it when it is back.
        """

    def since(self, position: int) -> tuple[int, list[Message]] | None:
        """Messages after `position` and the new position.

        None when some are gone (then forget what you know).
        """

    def sequence(self) -> int:
        """The present value of the logical clock that `bump` advances; may lag, never leads."""

    def heard(self) -> int:
        """The part of `sequence` that other processes know too.

        What was read from a place that others write to, and says that it is from after this, was
        made by somebody who knows more than this hub (or by another hub's clock): do not use it.
        """

    def bump(self, name: str) -> int:
        """Advance the logical clock and make it the generation of `name`; returns it."""

    def generation(self, name: str) -> int:
        """When `name` was last bumped on the logical clock."""

    def take(self, name: str, *, limit: int, window: float, at: float) -> Grant | Awaitable[Grant]:
        """Ask for one of `limit` requests per `window` seconds.

        `at` is the present in seconds on the machine's monotonic clock. An awaitable takes at most
        one short round trip.
        """

    def take_at_once(self, name: str, *, limit: int, window: float, at: float) -> Grant:
        """As `take`, for who cannot wait: on credit where others would have to be asked first."""

    async def acquire(self, name: str, *, seconds: float) -> Lease | None:
        """A lease that nobody else has; None when somebody does.

        Who cannot be told of it (Redis is away) gets one that is not `shared`.
        """

    async def acquire_many(
        self, names: Sequence[str], *, seconds: float
    ) -> dict[str, Lease | None]:
        """As `acquire` for each name, in one round trip."""

    async def wait_released(self, name: str, *, seconds: float) -> bool:
        """Wait until a lease ends, at most so long; whether it did.

        False at once when Redis is away.
        """

    async def slot(
        self, name: str, *, limit: int, seconds: float, wait: float = 0.0
    ) -> Lease | None:
        """One of `limit` leases of this name; None when all are taken for as long as `wait`."""

    async def add(
        self, counters: Mapping[str, Mapping[str, int]], *, once: str = "", kept: float = KEPT
    ) -> int:
        """Add to counters, name by name and field by field: one round trip.

        Raises StorageUnavailable; then the same call with the same `once` counts only once, even if
        the first had arrived. Kept for weeks: `x:7` says that this is the 7th call of `x`, whose
        calls come in order; then it returns how many of those before are on record no more.
        Counters are forgotten `kept` seconds after the last addition, 400 days unless told.
        """

    async def read(self, name: str) -> dict[str, int]:
        """The counters of a name, all fields. Raises StorageUnavailable."""

    async def status(self) -> HubStatus:
        """How it is; asks the server, and never raises."""

    def close(self) -> None:
        """Release files and connections at once; state stays."""

    async def aclose(self) -> None:
        """Tell what waits to be told, within a second, and close."""
