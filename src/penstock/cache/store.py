"""What the cache asks of a place that keeps entries.

A store holds whole entries under their full keys, batch-first. It forgets what has expired and
stays within its bound; freshness, tags and types are the cache's business. A failure of the place
itself raises CacheUnavailable, which the cache survives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable

from penstock.cache.entry import Entry, EntryInfo, Selection, TierStats
from penstock.errors import CacheUnavailable

Mark = bytes
"""What a key's place looked like at a moment: equal as long as nobody set or deleted the key."""


class WriteRefused(CacheUnavailable):
    """A place that takes no writes at present, while it can be read: full, or read-only."""


class Store(Protocol):
    """Keeps entries; what was set is got until it expires, is deleted, or makes room."""

    name: str

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries that are there."""

    async def set_many(self, entries: Sequence[Entry]) -> None:
        """Keep these, in the place of what was there under their keys."""

    async def delete(self, keys: Sequence[str]) -> int:
        """Forget these; returns how many were there."""

    async def clear(self, selection: Selection) -> int:
        """Forget what the selection names; returns how many entries that were."""

    async def scan(self, pattern: str, limit: int) -> list[EntryInfo]:
        """At most `limit` entries whose keys match, in no order."""

    async def stats(self) -> TierStats:
        """Counters and sizes."""

    async def sweep(self) -> int:
        """Remove what has expired, in steps short enough for an event loop; returns how many."""

    async def aclose(self) -> None:
        """Write down what is pending and let go of files and connections."""


@runtime_checkable
class LocalStore(Protocol):
    """A store of this machine, quick enough to be asked at once, by synchronous callers too."""

    def get(self, key: str) -> Entry | None:
        """One entry."""

    def read(self, keys: Iterable[str]) -> dict[str, Entry]:
        """As `get_many`."""

    def write(self, entries: Iterable[Entry]) -> None:
        """As `set_many`, for what can be computed again: may be lost, and may be withdrawn."""

    def remove(self, keys: Iterable[str], *, yields: bool = False) -> int:
        """As `delete`; may be asynchronous behind the scenes, but is visible to reads at once.

        What `yields` clears away the useless, and may be withdrawn.
        """

    def withdraw(self, meant: Callable[[str], object]) -> None:
        """Undo what yields and other processes cannot see yet: they have changed these keys."""

    def settled(self) -> Future[Any] | None:
        """Done when other processes can see what was changed so far; None when nobody waits."""

    def watch(self, catch_up: Callable[[], None]) -> None:
        """Call this before other processes are shown what yields; it may `withdraw` some of it."""


@runtime_checkable
class LastingStore(Protocol):
    """A local store that outlives this process, and may have more users than this one.

    Both of these take effect at once and never fail, whatever state the place is in.
    """

    def drop(self, keys: Iterable[str]) -> None:
        """Show these no more, until they are written again."""

    def distrust(self) -> None:
        """Show nothing that is there; from now on only what is written through this object."""


@runtime_checkable
class GuardedStore(Protocol):
    """A store that other machines write to, which can tell whether one of them changed a key.

    What was computed from the state before a change must not be written over the change. Whoever
    computes looks first, and what comes of it is kept only where the mark is still true.
    """

    async def look(self, keys: Sequence[str]) -> tuple[dict[str, Entry], dict[str, Mark]]:
        """The entries that are there, and a mark for every key."""

    async def set_unchanged(self, entries: Sequence[tuple[Entry, Mark]]) -> int:
        """Keep those whose key nobody has set, deleted or cleared since the mark."""
