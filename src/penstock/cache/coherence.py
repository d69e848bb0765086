"""Keeps the memory tiers of several processes from disagreeing, through the hub.

Two mechanisms. Explicit changes (set, delete, clear by pattern) are published on the topic "cache";
other processes drop those keys from memory (and from a disk that is theirs alone: see `cascade`)
when they next notice that the hub's head has moved, which every hit checks. They are told twice:
before the change, so that what others computed and have yet to write is not written over it, and
after it, when what they read instead is true. Tags, namespaces and the whole cache are generations
on the hub's logical clock: an entry is valid if none of its names was bumped after its computation
started.

`position` and `epoch` are what a hit compares: the head up to which messages were read, and the
logical clock at that moment. While both stand still nothing else needs to be looked at.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import msgspec

from penstock.cache.entry import Entry, Selection
from penstock.cache.patterns import matcher
from penstock.hub.hub import Hub

TOPIC = "cache"
MAX_MESSAGE = 6 << 10  # the hub takes 8 kB
MAX_CLEARS = 16
MAX_NAMESPACES = 1000


class Change(msgspec.Struct, array_like=True):
    """What one process tells the others."""

    origin: str
    prefix: str
    keys: list[str] = []
    pattern: str | None = None
    sequence: int = 0  # entries of the pattern from before this are meant
    everything: bool = False


class Coherence:
    """What one cache knows of the others' changes."""

    def __init__(
        self,
        hub: Hub,
        *,
        prefix: str,
        drop_keys: Callable[[list[str]], None],
        drop_matching: Callable[[Callable[[str], object]], None],
        drop_all: Callable[[], None],
    ) -> None:
        self.hub = hub
        self.position = hub.heads[0]
        self.epoch = hub.sequence()
        self._prefix = prefix
        self._origin = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._drop_keys = drop_keys
        self._drop_matching = drop_matching
        self._drop_all = drop_all
        self._lock = threading.Lock()
        self._generations: dict[str, int] = {}  # of namespaces, as of `position`
        self._clears: list[tuple[int, Callable[[str], object]]] = []
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Change).decode

    def catch_up(self) -> None:
        """Take in what others have published since the last time."""
        with self._lock:
            news = self.hub.since(self.position)
            if news is None:
                position = self.hub.heads[0]
                self._drop_all()
            else:
                position, messages = news
                for message in messages:
                    if message.topic == TOPIC:
                        self._take_in(self._decode(message.body))
            self._generations = {}
            self.epoch = self.hub.sequence()
            # Last, because a hit that sees it trusts all of the above to have happened.
            self.position = position

    def is_valid(self, entry: Entry) -> bool:
        """Whether no name of this entry was bumped, and no clear meant it, since it was begun."""
        sequence = entry.sequence
        if self.is_ahead(entry):
            return False
        if sequence >= self.epoch:
            return True
        # Held, so that what is read now never lands in a later dict.
        generations, prefix = self._generations, self._prefix
        namespace = entry.key[len(prefix) :].partition(":")[0]
        bumped = generations.get(namespace)
        if bumped is None:
            generation = self.hub.generation
            bumped = max(generation(f"{prefix}*"), generation(f"{prefix}n/{namespace}"))
            if len(generations) < MAX_NAMESPACES:
                generations[namespace] = bumped
        if bumped > sequence:
            return False
        for tag in entry.tags:
            if self.hub.generation(f"{prefix}t/{tag}") > sequence:
                return False
        return not any(sequence < at and matches(entry.key) for at, matches in self._clears)

    def is_ahead(self, entry: Entry) -> bool:
        """Whether it was made by who knew of bumps that were not heard here yet."""
        return entry.stored and entry.sequence > self.hub.heard()

    def bump_all(self) -> None:
        """Make every entry of this cache invalid, everywhere."""
        self.hub.bump(f"{self._prefix}*")

    def bump_namespace(self, namespace: str) -> None:
        """Make every entry of one namespace invalid, everywhere."""
        self.hub.bump(f"{self._prefix}n/{namespace}")

    def bump_tag(self, tag: str) -> None:
        """Make every entry with this tag invalid, everywhere."""
        self.hub.bump(f"{self._prefix}t/{tag}")

    def tell_keys(self, keys: Iterable[str]) -> None:
        """Let the other processes drop these keys from memory."""
        for part in _parcels(keys):
            if len(part[0]) * 4 > MAX_MESSAGE:
                self._publish(Change(self._origin, self._prefix, everything=True))
                continue
            self._publish(Change(self._origin, self._prefix, keys=part))

    def tell_clear(self, selection: Selection) -> None:
        """Let the other processes drop what is meant from memory, or more where that is simpler."""
        pattern = selection.pattern
        alone = selection == Selection(pattern=pattern)
        if pattern is None or not alone or len(pattern) > MAX_MESSAGE // 4:
            self._publish(Change(self._origin, self._prefix, everything=True))
            return
        sequence = self.hub.bump(f"{self._prefix}clears")
        self._publish(Change(self._origin, self._prefix, pattern=pattern, sequence=sequence))

    async def settled(self) -> None:
        """Return when others can hear what was told so far, if they can at all."""
        with suppress(Exception):  # the hub may fail, and belong to another event loop
            await self.hub.settled()

    def _publish(self, change: Change) -> None:
        self.hub.publish(TOPIC, self._encode(change))

    def _take_in(self, change: Change) -> None:
        if change.origin == self._origin or change.prefix != self._prefix:
            return
        if change.everything:
            self._drop_all()
        elif change.pattern is not None:
            # Entries are looked at when they are asked for: a walk over 100,000 keys would stall
            # the caller who happens to notice.
            matches = matcher(change.pattern)
            self._drop_matching(matches)
            # The clear as it is numbered here: its sender did not know its final number yet.
            bumped = self.hub.generation(f"{self._prefix}clears")
            self._clears.append((max(change.sequence, bumped), matches))
            if len(self._clears) > MAX_CLEARS:
                self._clears.clear()
                self._drop_all()
        else:
            self._drop_keys(change.keys)


def _parcels(keys: Iterable[str]) -> Iterator[list[str]]:
    """Parts that fit a message; a key that fits none is a part of its own."""
    part: list[str] = []
    size = 0
    for key in keys:
        weight = len(key) * 4 + 8
        if part and size + weight > MAX_MESSAGE:
            yield part
            part, size = [], 0
        part.append(key)
        size += weight
    if part:
        yield part
