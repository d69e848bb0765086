"""The user lists as this process knows them: kept up to date, and asked about every text.

    a change: rows, commit, hub.bump ─► every process: generation differs ─► refresh
        up to 1,000 changed entries: learnt at once, in slices of a millisecond
        more, or a list whose entries read differently now: a new index is filled beside the old
        one, which goes on answering and learning small changes, and takes its place when complete
    every second: the database is asked itself, in case the hub tells nothing

What lists say about a content key is remembered until anything changes, so a hot text costs one
look-up. Searching a text has a budget of steps: a small one on the loop, then a larger one in a
thread, of which each key has one at a time. Where that is spent, too, people decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from penstock.clock import Clock
from penstock.db import Database
from penstock.db.look import Look
from penstock.errors import StorageError
from penstock.hub.hub import Hub
from penstock.lists.allowed import is_as_listed
from penstock.lists.listed import (
    NOTHING,
    Listed,
    ListHit,
    Match,
    inside,
    outermost,
    weigh_image,
    weigh_text,
)
from penstock.lists.managed import is_managed
from penstock.lists.matcher import Index, Row
from penstock.lists.memory import Memory
from penstock.lists.scopes import Scope, Scopes
from penstock.lists.store import ChangeRecord, ListRecord, ListStore
from penstock.lists.turns import Turns
from penstock.lists.words import Place
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.words.budget import Budget, Overrun
from penstock.words.views import Reading

NAME: Final = "lists"  # of the generation on the hub
INLINE_CHARACTERS: Final = 2_000  # longer texts are for a thread
INLINE_STEPS: Final = 5_000  # about a millisecond, for each index; then a thread goes on
STEPS: Final = 1_000_000  # a fifth of a second, and
STEPS_EACH: Final = 5  # more for each character
SMALL: Final = 1_000  # changed entries that requests wait for
LOOK_SECONDS: Final = 1.0  # how long a change may stay unseen when the hub tells nothing
AWAY_SECONDS: Final = 86_400.0  # without a look for so long, removals may have been purged

_SLICE: Final = 100  # entries between two looks of the loop at others, about a millisecond
_FAR_PAGE: Final = 1_000  # entries that are read at once where each reading is a round trip
_TRIES: Final = 3  # looks for one refresh: one that had begun, one of one's own

_log = get_logger("penstock.lists")


class CurrentLists:
    """Every enabled list with its entries, as of the last `refresh`."""

    def __init__(self, database: Database, *, hub: Hub, clock: Clock, metrics: Metrics) -> None:
        self._store = ListStore(database)
        self._hub = hub
        self._clock = clock
        self._metrics = metrics
        self._scopes = Scopes()
        self._lists: dict[str, ListRecord] = {}
        self._own: frozenset[str] = frozenset()  # keys that have lists of their own
        self._memory = Memory()
        self._generation: int | None = None  # None: nothing was read yet
        self._state: object = None
        self._change = 0  # number of the last change that the index knows or will be told
        self._looked_at = clock.monotonic()
        self._page = _SLICE if database.dialect == "sqlite" else _FAR_PAGE
        self._look = Look(self._read)
        self._beginning = asyncio.Lock()
        self._filling = asyncio.Lock()
        self._learning = asyncio.Lock()
        self._wanted = asyncio.Event()  # a new index
        self._kept = False  # whether `keep` runs
        self._turns = Turns()

    @property
    def stale(self) -> bool:
        """Whether something may have changed since the last `refresh`: two reads of memory."""
        return (
            self._hub.generation(NAME) != self._generation
            or self._clock.monotonic() - self._looked_at >= LOOK_SECONDS
        )

    async def refresh(self) -> None:
        """Learn what changed; those who ask at once share one look.

        Raises StorageError where nothing was ever read; later on what is known goes on counting,
        and hardly anybody waits for a database that does not answer.
        """
        if self._generation is None:
            await self._begin()
        for _ in range(_TRIES):
            if not self.stale:
                return
            generation = self._hub.generation(NAME)
            if not await self._look.share():
                # What is known goes on counting; the next look tries again.
                self._generation, self._state = generation, None
                self._looked_at = self._clock.monotonic()
                return

    async def aclose(self) -> None:
        """Stop looking; before the database closes."""
        await self._look.aclose()

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

        Safe in any thread, and for a thread: it may take a second. Requests use `match_long`.
        """
        known, memory = self._recalled(text, key, remember)
        if known is not None:
            return known
        found, complete = self._weighed(text, key, STEPS + STEPS_EACH * len(text))
        if not complete:
            self._metrics.count("penstock_list_overruns_total")
        return self._kept_in(memory, (remember, self._slot(key)), found)

    async def match_long(self, text: str, *, key: str | None, remember: str = "") -> Listed:
        """The same, where it takes least of the loop: at once when known or short, or in a thread.

        The threads of one key follow each other, so that others find some free.
        """
        known, memory = self._recalled(text, key, remember)
        if known is not None:
            return known
        if len(text) <= INLINE_CHARACTERS and not self._scopes.has_patterns(self._slot(key)):
            found, complete = self._weighed(text, key, INLINE_STEPS)
            if complete:
                return self._kept_in(memory, (remember, self._slot(key)), found)
        return await self._turns.run(key, partial(self.match, text, key=key, remember=remember))

    def match_image(
        self, sha256: str, pdq: Sequence[bytes], phash: Sequence[bytes], *, key: str | None
    ) -> Listed:
        """What the lists of `key` say about an image, by its digest and its perceptual hashes.

        `pdq` and `phash` are those of its flips and turns too. With 100,000 hashes listed this
        takes milliseconds. A digest may be that of other content: it is only looked up.
        """
        found: list[Match] = []
        for _, index in self._scopes.of(key):
            ids = dict.fromkeys(index.find_digest(bytes.fromhex(sha256)) if sha256 else ())
            ids |= dict.fromkeys(index.find_near("pdq", pdq))
            ids |= dict.fromkeys(index.find_near("phash", phash))
            found += [hit for id in ids if (hit := self._match(index, Place(id, 0, 0)))]
        return self._counted(weigh_image(found)) if found else NOTHING

    def count(self, list_id: str) -> int:
        """How many entries of a list this process knows."""
        record = self._lists.get(list_id)
        return 0 if record is None else self._scopes.count(list_id, record.key_id)

    def _slot(self, key: str | None) -> str | None:
        """What tells answers apart by who asks."""
        return key if key in self._own else None

    def _recalled(self, text: str, key: str | None, remember: str) -> tuple[Listed | None, Memory]:
        """What is known without a search, and where to put what is found: not in a later memory."""
        memory, slot = self._memory, self._slot(key)
        if remember and (known := memory.get((remember, slot))) is not None:
            return known, memory
        if not text or next(self._scopes.of(slot), None) is None:
            return NOTHING, memory
        return None, memory

    def _weighed(self, text: str, key: str | None, steps: float) -> tuple[Listed, bool]:
        """What lists say of a text after so many steps in each index, and whether it is all."""
        reading = self._scopes.read(text)
        found: dict[tuple[int, int, int], Match] = {}
        spans: list[tuple[int, int]] = []
        cut: ListHit | None = None
        complete = True
        for scope, index in self._scopes.of(self._slot(key)):
            if not (spans or scope.exempts):
                spans = outermost(m.hit for m in found.values() if m.hit.list_kind == "allow")
            try:
                self._gather(index, reading, Budget(steps), spans, found)
            except Overrun:
                complete = False
                cut = cut or self._cut(scope, text)
        matches = sorted(found.values(), key=lambda each: (each.hit.start, each.hit.end))
        return weigh_text(matches, text, cut), complete

    def _gather(
        self,
        index: Index,
        reading: Reading,
        budget: Budget,
        spans: Sequence[tuple[int, int]],
        found: dict[tuple[int, int, int], Match],
    ) -> None:
        """Add the matches of one index, each once. Raises Overrun."""

        def counts(start: int, end: int) -> bool:
            return not spans or not inside(start, end, spans)

        for place in index.find(reading.text, reading, budget, counts):
            match = self._match(index, place, reading.text)
            if match is not None:
                found[place.id, place.start, place.end] = match

    def _match(self, index: Index, place: Place, text: str = "") -> Match | None:
        """A place as a hit of its list; None where it does not count."""
        row = index.row(place.id)
        record = None if row is None else self._lists.get(row.list_id)
        if row is None or record is None or not record.enabled:
            return None
        exempts = record.kind == "allow"
        if place.disguised and (exempts or not record.disguises):
            return None
        if exempts and row.kind in ("phrase", "wildcard"):
            piece = text[place.start : place.end]
            if not is_as_listed(piece, row.value):
                return None
        exact = row.kind == "sha256"
        decided = exact and is_managed(record.id)
        hit = ListHit(record.id, record.name, record.kind, place.id, place.start, place.end)
        return Match(hit, exact, 0 if not decided else 1 if record.key_id is None else 2)

    def _cut(self, scope: Scope, text: str) -> ListHit | None:
        """What says that lists were not searched to their end; exemptions may be missing."""
        if scope.exempts:
            return None
        for record in self._lists.values():
            mine = record.key_id == scope.key_id and record.kind != "allow"
            if record.enabled and mine and not is_managed(record.id):
                return ListHit(record.id, record.name, "review", 0, 0, len(text))
        return None

    def _kept_in(self, memory: Memory, slot: tuple[str, str | None], listed: Listed) -> Listed:
        if slot[0]:
            memory.put(slot, listed)
        return self._counted(listed)

    def _counted(self, listed: Listed) -> Listed:
        for hit in listed.hits:
            self._metrics.count("penstock_list_hits_total", kind=hit.list_kind)
        return listed

    async def _begin(self) -> None:
        """Read everything, once. Raises StorageError."""
        async with self._beginning:
            if self._generation is None:
                # Taken before reading, so that what changes meanwhile is read again.
                generation, now = self._hub.generation(NAME), self._clock.monotonic()
                self._wanted.set()
                await self.settle()
                self._generation, self._looked_at = generation, now

    async def _read(self) -> None:
        """Compare the database with what is known, and learn what is new."""
        generation, now = self._hub.generation(NAME), self._clock.monotonic()
        try:
            state = await self._store.state()
            if generation != self._generation or state != self._state:
                await self._catch_up(state, away=now - self._looked_at)
        except StorageError as error:
            _log.error("lists.unreadable", detail=error.detail)
            raise
        self._generation, self._looked_at = generation, now

    async def _catch_up(self, state: tuple[int, int, int], *, away: float) -> None:
        lists = await self._store.lists()
        before = self._lists
        self._use(lists)
        reread = (
            away >= AWAY_SECONDS or self._scopes.worn or _reads_differently(before, self._lists)
        )
        if reread or state[0] - self._change > SMALL:
            # Taken as known: small changes behind it go on being learnt while the index is filled.
            self._change = state[0]
            self._wanted.set()
            if not self._kept:
                await self.settle()
        else:
            await self._learn()
        self._state = state

    async def _learn(self) -> None:
        """Tell the indexes what changed behind the last known number."""
        async with self._learning:
            while changes := await self._store.changed(after=self._change, limit=self._page):
                for part in _slices(changes):
                    await self._apply(self._scopes, part)
                    self._change = part[-1].change
                    self._memory = Memory()
                    if len(part) == _SLICE:
                        await asyncio.sleep(0)
                if len(changes) < self._page:
                    return

    async def _fill(self) -> None:
        """Make new indexes of all that there is and use them."""
        state = await self._store.state()
        self._use(await self._store.lists())
        scopes, after = Scopes(), 0
        while live := await self._store.live(after=after, limit=self._page):
            after = live[-1].id
            for part in _slices(live):
                await self._apply(scopes, part)
                await asyncio.sleep(0)
        change = state[0]
        async with self._learning:  # or what the old ones learn last would be missing in these
            while changes := await self._store.changed(after=change, limit=self._page):
                change = changes[-1].change
                for part in _slices(changes):
                    await self._apply(scopes, part)
                    if len(part) == _SLICE:
                        await asyncio.sleep(0)
            self._scopes, self._change, self._state = scopes, max(change, self._change), state
            self._memory = Memory()
        self._metrics.gauge("penstock_list_entries", len(scopes))

    async def _apply(self, scopes: Scopes, changes: Sequence[ChangeRecord]) -> None:
        if any(change.list_id not in self._lists for change in changes):
            # Made since the lists were read, or gone. Others stay as they are known: how their
            # entries are looked for is compared with that.
            now = {record.id: record for record in await self._store.lists()}
            self._use((now | self._lists).values())
        for change in changes:
            record = self._lists.get(change.list_id)
            if change.deleted or record is None:
                scopes.remove(change.id)
            else:
                row = Row(record.id, change.kind, change.value, record.disguises)
                scopes.add(change.id, _scope(record), row)

    def _use(self, lists: Iterable[ListRecord]) -> None:
        self._lists = {record.id: record for record in lists}
        self._own = frozenset(r.key_id for r in self._lists.values() if r.key_id is not None)
        self._memory = Memory()


def _slices(changes: Sequence[ChangeRecord]) -> Iterator[Sequence[ChangeRecord]]:
    for start in range(0, len(changes), _SLICE):
        yield changes[start : start + _SLICE]


def _scope(record: ListRecord) -> Scope:
    return Scope(record.key_id, record.kind == "allow")


def _reads_differently(before: dict[str, ListRecord], now: dict[str, ListRecord]) -> bool:
    """Whether lists are gone, or their entries are to be looked for in other ways."""
    return any(
        id not in now or now[id].disguises != record.disguises or _scope(now[id]) != _scope(record)
        for id, record in before.items()
    )
