"""The user lists as this process knows them: kept up to date, and asked about every text.

    a change: rows, commit, hub.bump ─► every process: generation differs ─► refresh
        up to 1,000 changed entries: learnt at once, in slices of a millisecond
        more, or a list whose entries read differently now: a new index is filled beside the old
        one, which goes on answering and learning small changes, and takes its place when complete

What lists say about a content key is remembered until anything changes, so a hot text costs one
look-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from penstock.clock import Clock
from penstock.db import Database
from penstock.errors import StorageError
from penstock.hub.hub import Hub
from penstock.lists.listed import (
    NOTHING,
    Evidence,
    Listed,
    ListHit,
    weigh_image,
    weigh_text,
)
from penstock.lists.matcher import Index, Row
from penstock.lists.store import ChangeRecord, ListRecord, ListStore
from penstock.lists.words import Place
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics

NAME: Final = "lists"  # of the generation on the hub
MANAGED: Final = "decisions-"  # how ids of lists begin that human decisions make
INLINE_CHARACTERS: Final = 8_000  # longer texts are for a thread
SMALL: Final = 1_000  # changed entries that requests wait for
REMEMBERED: Final = 16_384  # results of each of two generations
LOOK_SECONDS: Final = 1.0  # how long a change may stay unseen when the hub tells nothing
AWAY_SECONDS: Final = 86_400.0  # without a look for so long, removals may have been purged

_PAGE: Final = 100  # entries between two looks of the loop at others, about a millisecond

_log = get_logger("penstock.lists")


class CurrentLists:
    """Every enabled list with its entries, as of the last `refresh`."""

    def __init__(self, database: Database, *, hub: Hub, clock: Clock, metrics: Metrics) -> None:
        self._store = ListStore(database)
        self._hub = hub
        self._clock = clock
        self._metrics = metrics
        self._index = Index()
        self._lists: dict[str, ListRecord] = {}
        self._own: frozenset[str] = frozenset()  # keys that have lists of their own
        self._memory = _Memory()
        self._generation: int | None = None  # None: nothing was read yet
        self._state: object = None
        self._change = 0  # number of the last change that the index knows or will be told
        self._looked_at = clock.monotonic()
        self._refreshing = asyncio.Lock()
        self._filling = asyncio.Lock()
        self._wanted = asyncio.Event()  # a new index
        self._kept = False  # whether `keep` runs

    @property
    def stale(self) -> bool:
        """Whether something may have changed since the last `refresh`: two reads of memory."""
        return (
            self._hub.generation(NAME) != self._generation
            or self._clock.monotonic() - self._looked_at >= LOOK_SECONDS
        )

    async def refresh(self) -> None:
        """Learn what changed; those who ask at once share one look.

        Raises StorageError where nothing was ever read; later on what is known goes on counting.
        """
        async with self._refreshing:
            if not self.stale:
                return
            # Taken before reading, so that what changes meanwhile is read again.
            generation = self._hub.generation(NAME)
            now = self._clock.monotonic()
            if self._generation is None:
                self._wanted.set()
                await self.settle()
            else:
                try:
                    if generation != self._generation or self._store.state() != self._state:
                        await self._catch_up(away=now - self._looked_at)
                except StorageError as error:
                    # What is known goes on counting; the next look tries again.
                    _log.error("lists.unreadable", detail=error.detail)
                    self._state = None
            self._generation = generation
            self._looked_at = now

    async def keep(self) -> None:
        """Fill a new index whenever one is wanted, until cancelled; then nobody waits for it."""
        self._kept = True
        try:
            while True:
                await self._wanted.wait()
                try:
                    await self.settle()
                except StorageError as error:
                    _log.error("lists.unreadable", detail=error.detail)
                    await self._clock.sleep(LOOK_SECONDS)
        finally:
            self._kept = False

    async def settle(self) -> None:
        """Return when no new index is wanted or being filled."""
        async with self._filling:
            if self._wanted.is_set():
                self._wanted.clear()
                try:
                    await self._fill()
                except BaseException:
                    self._wanted.set()  # nothing was learnt: someone has to try again
                    raise

    def match(self, text: str, *, key: str | None, remember: str = "") -> Listed:
        """What the lists of `key` say about a text; remembered under `remember` until a change.

        Safe in any thread: texts over `INLINE_CHARACTERS` belong in one, see `match_long`.
        """
        if not len(self._index):
            return NOTHING
        memory = self._memory  # held: what is found now must not land in a later one
        scope = key if key in self._own else None
        if remember:
            known = memory.get((remember, scope))
            if known is not None:
                return known
        listed = weigh_text(self._evidence(self._index.find(text), key), text) if text else NOTHING
        if remember:
            memory.put((remember, scope), listed)
        return self._counted(listed)

    async def match_long(self, text: str, *, key: str | None, remember: str = "") -> Listed:
        """The same, in a thread for a long text that is not remembered."""
        known = self._memory.get((remember, key if key in self._own else None))
        if known is not None and remember:
            return known
        if len(text) <= INLINE_CHARACTERS or not len(self._index):
            return self.match(text, key=key, remember=remember)
        return await asyncio.to_thread(self.match, text, key=key, remember=remember)

    def match_image(
        self, sha256: str, pdq: Sequence[bytes], phash: Sequence[bytes], *, key: str | None
    ) -> Listed:
        """What the lists of `key` say about an image, by its digest and its perceptual hashes.

        `pdq` and `phash` are those of its flips and turns too. With 100,000 hashes listed this
        takes milliseconds.
        """
        index = self._index
        if not len(index):
            return NOTHING
        ids = dict.fromkeys(index.find_digest(bytes.fromhex(sha256)) if sha256 else ())
        ids |= dict.fromkeys(index.find_near("pdq", pdq))
        ids |= dict.fromkeys(index.find_near("phash", phash))
        return self._counted(weigh_image(self._evidence((Place(id, 0, 0) for id in ids), key)))

    def count(self, list_id: str) -> int:
        """How many entries of a list this process knows."""
        return self._index.count(list_id)

    def _evidence(self, places: Iterable[Place], key: str | None) -> list[Evidence]:
        """The places that count for `key`, each once, in order."""
        found: dict[tuple[int, int, int], Evidence] = {}
        for id, start, end, disguised in places:
            row = self._index.row(id)
            record = None if row is None else self._lists.get(row.list_id)
            if row is None or record is None or not record.enabled:
                continue
            if record.key_id not in (None, key) or (disguised and not record.disguises):
                continue
            exact = row.kind == "sha256"
            decided = exact and record.id.startswith(MANAGED)
            hit = ListHit(record.id, record.name, record.kind, id, start, end)
            rank = 0 if not decided else 1 if record.key_id is None else 2
            found[id, start, end] = Evidence(hit, exact, rank)
        return sorted(found.values(), key=lambda each: (each.hit.start, each.hit.end))

    def _counted(self, listed: Listed) -> Listed:
        for hit in listed.hits:
            self._metrics.count("penstock_list_hits_total", kind=hit.list_kind)
        return listed

    async def _catch_up(self, *, away: float) -> None:
        before = self._lists
        state, lists = self._store.state(), self._store.lists()
        self._use(lists)
        reread = away >= AWAY_SECONDS or self._index.worn or _reads_differently(before, self._lists)
        if reread or state[0] - self._change > SMALL:
            # Taken as known: small changes behind it go on being learnt while the index is filled.
            self._change = state[0]
            self._wanted.set()
            if not self._kept:
                await self.settle()
        else:
            await self._learn(self._index)
        self._state = state

    async def _learn(self, index: Index) -> None:
        """Tell an index what changed behind the last known number."""
        while True:
            changes = self._store.changed(after=self._change, limit=_PAGE)
            self._apply(index, changes)
            if changes:
                self._change = changes[-1].change
                self._memory = _Memory()
            if len(changes) < _PAGE:
                return
            await asyncio.sleep(0)

    async def _fill(self) -> None:
        """Make a new index of all that there is and use it."""
        state = self._store.state()
        self._use(self._store.lists())
        index, after = Index(), 0
        while live := self._store.live(after=after, limit=_PAGE):
            self._apply(index, live)
            after = live[-1].id
            await asyncio.sleep(0)
        change = state[0]
        while changes := self._store.changed(after=change, limit=_PAGE):
            self._apply(index, changes)
            change = changes[-1].change
            if len(changes) == _PAGE:
                await asyncio.sleep(0)
        # Nothing was awaited since the last look, so nothing can lie between it and this.
        self._index, self._change, self._state = index, max(change, self._change), state
        self._memory = _Memory()
        self._metrics.gauge("penstock_list_entries", len(index))

    def _apply(self, index: Index, changes: Sequence[ChangeRecord]) -> None:
        if any(change.list_id not in self._lists for change in changes):
            # Made since the lists were read, or gone. Others stay as they are known: how their
            # entries are looked for is compared with that.
            now = {record.id: record for record in self._store.lists()}
            self._use((now | self._lists).values())
        for change in changes:
            record = self._lists.get(change.list_id)
            if change.deleted or record is None:
                index.remove(change.id)
            else:
                index.add(change.id, Row(record.id, change.kind, change.value, record.disguises))

    def _use(self, lists: Iterable[ListRecord]) -> None:
        self._lists = {record.id: record for record in lists}
        self._own = frozenset(r.key_id for r in self._lists.values() if r.key_id is not None)
        self._memory = _Memory()


def _reads_differently(before: dict[str, ListRecord], now: dict[str, ListRecord]) -> bool:
    """Whether lists are gone, or their entries are to be looked for in other ways."""
    return any(
        id not in now or now[id].disguises != record.disguises for id, record in before.items()
    )


class _Memory:
    """Results by content key and by the key that asks; the older half goes when it is full."""

    def __init__(self) -> None:
        self._young: dict[tuple[str, str | None], Listed] = {}
        self._old: dict[tuple[str, str | None], Listed] = {}

    def get(self, slot: tuple[str, str | None]) -> Listed | None:
        found = self._young.get(slot)
        if found is None and (found := self._old.get(slot)) is not None:
            self.put(slot, found)
        return found

    def put(self, slot: tuple[str, str | None], listed: Listed) -> None:
        if len(self._young) >= REMEMBERED:
            self._old, self._young = self._young, {}
        self._young[slot] = listed
