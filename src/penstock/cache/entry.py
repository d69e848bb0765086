"""What a cache remembers and what it says about it: entries, hits, statistics."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Hashable
from typing import Any, Literal

import msgspec

from penstock.cache.patterns import matcher
from penstock.codec import Codec
from penstock.errors import UnencodableValue

Source = Literal["memory", "disk", "redis", "inflight", "computed"]

# Measured with tracemalloc: the Entry, its key's header, its places in two dicts and in the ghosts.
OVERHEAD = 400

KEPT, PACKED, COPIED = range(3)

_SCALARS = frozenset({type(None), bool, int, float, str, bytes})


class Entry(msgspec.Struct, gc=False, eq=False):
    """One remembered value. What comes after `codec` belongs to a tier; the rest stays as made.

    Times are seconds since the epoch. `sequence` is the hub's logical clock as it was when the
    computation started. Outside the garbage collector's sight, because 100,000 tracked objects make
    a collection take 10 ms; so nothing in here may refer back to what holds the entry.
    """

    key: str
    value: Any  # as kept: the value itself, or its MessagePack body, or a private copy
    thaw: Callable[[Any], Any] | None  # makes the value to give away of `value`; None: as it is
    kind: int
    size: int  # bytes of the value
    created: float
    fresh_until: float
    stale_until: float
    expires: float
    sequence: int
    tags: tuple[str, ...]
    plain: bool = True  # a PACKED body that needs no type
    codec: Codec | None = None
    epoch: int = -1  # the bump after which the entry was last seen to be valid
    weight: int = 0  # bytes in memory, all told
    hits: int = 0  # up to 3, since its last turn in the queue
    main: bool = False
    slot: int = -1
    alias: tuple[int, Hashable] | None = None
    stored: bool = False  # read from where other processes read too, not from what is pending

    def give(self) -> Any:
        """A value that its user may change."""
        return self.value if self.thaw is None else self.thaw(self.value)

    def pack(self) -> tuple[bytes, bool]:
        """The MessagePack body and whether it is plain; raises UnencodableValue."""
        if self.kind == PACKED:
            return self.value, self.plain
        if self.kind == COPIED or self.codec is None:
            raise UnencodableValue(f"a {type(self.value).__qualname__} cannot be stored as bytes")
        return self.codec.pack(self.value)

    def duplicate(self) -> Entry:
        """The same entry with counters of its own, for another tier."""
        return msgspec.structs.replace(
            self, epoch=-1, weight=0, hits=0, main=False, slot=-1, alias=None
        )


class Hit(msgspec.Struct, frozen=True, gc=False):
    """A value and where it came from. `age` is in seconds."""

    value: Any
    source: Source
    age: float = 0.0
    stale: bool = False


class EntryInfo(msgspec.Struct, frozen=True):
    """What a scan shows of an entry."""

    key: str
    size_bytes: int
    age_seconds: float
    expires_in_seconds: float
    tier: str


class Selection(msgspec.Struct, frozen=True):
    """Which entries to clear: those that fulfil all that is given; nothing given means all."""

    pattern: str | None = None
    tag: str | None = None
    created_before: float | None = None

    @property
    def may_mean(self) -> Callable[[str], object]:
        """A test for keys: false for those that are not meant whatever else they are."""
        return matcher(self.pattern) if self.pattern is not None else lambda _: True

    def matcher(self) -> Callable[[Entry], bool]:
        """A test for entries."""
        matches = self.may_mean
        tag, before = self.tag, self.created_before

        def selected(entry: Entry) -> bool:
            return bool(
                matches(entry.key)
                and (tag is None or tag in entry.tags)
                and (before is None or entry.created < before)
            )

        return selected


class TierStats(msgspec.Struct, kw_only=True):
    """Counters of one tier since it was opened; sizes in bytes."""

    entries: int = 0
    size_bytes: int = 0
    max_bytes: int = 0
    hits: int = 0
    misses: int = 0
    writes: int = 0
    evictions: int = 0
    expired: int = 0
    errors: int = 0
    skipped: int = 0  # values that cannot be stored as bytes, or are too large
    dropped: int = 0  # writes lost to a full queue or a broken tier
    state: Literal["up", "down"] = "up"
    detail: str | None = None


class CacheStats(msgspec.Struct, kw_only=True):
    """Counters of a cache since it was opened."""

    tiers: dict[str, TierStats]
    hits: int
    misses: int
    hit_rate: float
    coalesced: int  # callers that waited for someone else's computation
    stale: int  # hits that were served past their time to live
    errors: int  # computations that failed
    entries: int
    size_bytes: int
    operations_per_second: float
    uptime_seconds: float
    enabled: bool


def is_immutable(value: object) -> bool:
    """Tell whether no user of this value can change it for another."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(is_immutable, value))  # type: ignore[call-overload]
    if isinstance(value, msgspec.Struct) and value.__struct_config__.frozen:
        return all(is_immutable(getattr(value, name)) for name in value.__struct_fields__)
    return False


def weigh(value: object) -> int:
    """Estimate the bytes a value takes in memory, with what it holds."""
    total, seen, rest = 0, set[int](), [value]
    while rest:
        part = rest.pop()
        total += sys.getsizeof(part)
        if type(part) in _SCALARS or isinstance(part, type) or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, tuple | list | set | frozenset):
            rest.extend(part)
        elif isinstance(part, dict):
            rest.extend(part)
            rest.extend(part.values())
        elif isinstance(part, msgspec.Struct):
            rest.extend(getattr(part, name) for name in part.__struct_fields__)
        else:
            rest.extend(vars(part).values() if hasattr(part, "__dict__") else ())
    return total


class Frozen(msgspec.Struct, gc=False):
    """A value made safe to keep, or the reason why not."""

    original: Any  # what the function returned; for one caller only
    value: Any
    thaw: Callable[[Any], Any] | None
    kind: int
    size: int
    plain: bool = True
    storable: bool = True
    reason: str | None = None  # why it cannot leave this process

    def give(self) -> Any:
        """A value that its user may change."""
        return self.value if self.thaw is None else self.thaw(self.value)


def freeze(value: Any, codec: Codec) -> Frozen:
    """Make a value safe to keep: as it is when immutable, else as bytes, else as a deep copy.

    What cannot even be copied is given out as it is and never kept (`storable` false).
    """
    if is_immutable(value):
        return Frozen(value, value, None, KEPT, weigh(value))
    try:
        body, plain = codec.pack(value)
    except UnencodableValue as error:
        return _copied(value, error.detail)
    thaw = codec.thaw_plain if plain else codec.thaw
    return Frozen(value, body, thaw, PACKED, len(body) + sys.getsizeof(b""), plain)


def _copied(value: Any, reason: str) -> Frozen:
    try:
        private = copy.deepcopy(value)
        return Frozen(value, private, copy.deepcopy, COPIED, weigh(private), reason=reason)
    except Exception as error:  # deepcopy runs foreign code: any failure means it cannot be copied
        return Frozen(
            value, value, None, COPIED, 0, storable=False, reason=f"{reason}; nor copied: {error}"
        )
