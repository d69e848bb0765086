"""One queue in one process: its free places, and the next jobs, in memory.

Memory holds the first jobs of the queue; from `horizon` on there are more on disk that memory does
not know of. The first candidate may be taken as long as it comes before the horizon. What other
processes add makes a lane stale: it is read again soon, and goes on with what it has until then.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from itertools import count
from typing import Final

from penstock.tasks.embedded.candidate import Candidate

BOUND: Final = 10_000  # jobs of a queue in memory
AGEING_SHARE: Final = 16  # of so many starts one goes to the job that waits longest
AGEING_AFTER: Final = 30_000  # milliseconds

Place = tuple[int, int]  # priority and number

BEFORE_ALL: Final[Place] = (-1, 0)


class Lane:
    """Which job of a queue starts next, and whether there is room for it."""

    __slots__ = (
        "_bound",
        "_heap",
        "_left_behind",
        "_order",
        "_starts",
        "busy",
        "elders",
        "horizon",
        "inserting",
        "is_paused",
        "is_reading",
        "is_stale",
        "limit",
        "looked_at",
        "losses",
        "name",
        "waiting",
    )

    def __init__(self, name: str, *, limit: int, bound: int = BOUND) -> None:
        self.name = name
        self.limit = limit
        self.busy = 0  # places that are taken
        self.inserting = 0  # ready jobs on their way to disk: they come before later ones
        self.is_paused = False
        self.is_reading = False
        self.is_stale = True  # there may be jobs on disk, before the horizon
        self.looked_at = 0.0  # when more was read from disk last
        self.losses = 0  # turns in a row in which every claim came too late
        self.waiting: dict[int, Candidate] = {}
        self.elders: deque[Candidate] = deque()  # those that wait longest, of any priority
        self.horizon: Place | None = BEFORE_ALL
        self._heap: list[tuple[int, int, int, Candidate]] = []
        self._order = count()  # so that no two entries are compared by their candidates
        self._bound = bound
        self._starts = 0
        self._left_behind: Place | None = None  # while reading: what was left on disk meanwhile

    @property
    def is_idle(self) -> bool:
        """Whether a new job could start at once: a place is free and nothing comes before it."""
        return (
            self.busy < self.limit
            and not self.waiting
            and not self.inserting
            and self.horizon is None
            and not self.is_stale
            and not self.is_reading
            and not self.is_paused
        )

    @property
    def has_room(self) -> bool:
        """Whether a job of it may start."""
        return self.busy < self.limit and not self.is_paused

    def push(self, candidate: Candidate) -> None:
        """Let a ready job wait here, or on disk if it is far behind."""
        number = candidate.number
        if number in self.waiting:
            return
        place = (candidate.priority, number)
        if self.horizon is not None and place > self.horizon:
            self._leave(place)
        elif self.horizon is None and len(self.waiting) >= self._bound:
            self.horizon = place
            self._evict_from(place)
            self._leave(place)
        else:
            self._take_in(candidate)
            if len(self.waiting) > 2 * self._bound:
                self._shrink()

    def pop(self, now: int) -> Candidate | None:
        """Take the next job; None when there is none, or the disk must be read first."""
        if self.elders and self._starts % AGEING_SHARE == AGEING_SHARE - 1:
            elder = self._pop_elder(now)
            if elder is not None:
                self._starts += 1
                return elder
        first = self._first()
        if first is None or (self.horizon is not None and first.place > self.horizon):
            return None
        heapq.heappop(self._heap)
        del self.waiting[first.number]
        self._starts += 1
        return first

    def has_elder(self, now: int) -> bool:
        """Whether a job in memory waits too long; the first to come in is the best guess."""
        for candidate in self.waiting.values():
            return now - candidate.run_at > AGEING_AFTER
        return False

    def discard(self, number: int) -> Candidate | None:
        """Forget a job that waits here."""
        return self.waiting.pop(number, None)

    def look(self) -> None:
        """There may be jobs on disk that memory does not know of."""
        self.is_stale = True

    @property
    def should_read(self) -> bool:
        """Whether it is time to read more from disk."""
        if self.is_reading:
            return False
        if self.is_stale:
            return True
        if self.horizon is None:
            return False
        if len(self.waiting) < self._bound // 4:
            return True
        first = self._first()
        return first is None or first.place > self.horizon

    def begin_read(self) -> None:
        """The disk is being read; what is left on it from now on may be missing in the answer."""
        self.is_reading = True
        self.is_stale = False
        self._left_behind = None

    def end_read(self, found: Iterable[Candidate], *, up_to: Place | None) -> None:
        """Take in what was read: everything up to a place, or everything there is."""
        self.is_reading = False
        for candidate in found:
            if candidate.number not in self.waiting:
                self._take_in(candidate)
        behind = self._left_behind
        self.horizon = min(up_to, behind) if up_to and behind else up_to or behind

    def fail_read(self) -> None:
        """The disk could not be read; it is tried again."""
        self.is_reading = False
        self.is_stale = True

    def clear(self) -> None:
        """Forget what waits: others are taking it."""
        self.waiting.clear()
        self._heap.clear()
        self.elders.clear()
        self.horizon = BEFORE_ALL  # or what is added next would overtake what was forgotten
        self.look()

    def _take_in(self, candidate: Candidate) -> None:
        self.waiting[candidate.number] = candidate
        heapq.heappush(self._heap, self._entry(candidate))

    def _entry(self, candidate: Candidate) -> tuple[int, int, int, Candidate]:
        return (candidate.priority, candidate.number, next(self._order), candidate)

    def _first(self) -> Candidate | None:
        heap, waiting = self._heap, self.waiting
        while heap:
            priority, number, _, candidate = heap[0]
            if waiting.get(number) is candidate and candidate.priority == priority:
                return candidate
            heapq.heappop(heap)  # it was discarded, or moved to another priority
        return None

    def _pop_elder(self, now: int) -> Candidate | None:
        while self.elders:
            elder = self.elders.popleft()
            held = self.waiting.pop(elder.number, None)
            if now - elder.run_at > AGEING_AFTER:
                return held or elder
            if held is not None:
                self.waiting[held.number] = held
        return None

    def _leave(self, place: Place) -> None:
        if self.is_reading and (self._left_behind is None or place < self._left_behind):
            self._left_behind = place

    def _evict_from(self, place: Place) -> None:
        """Nothing in memory may lie behind the horizon for long; what does is read again."""
        for number in [n for n, c in self.waiting.items() if c.place > place]:
            del self.waiting[number]

    def _shrink(self) -> None:
        """Many came before the horizon: keep the first, leave the others on disk."""
        kept = sorted(self.waiting.values(), key=lambda c: c.place)
        first_left = kept[self._bound].place
        self.horizon = min(self.horizon, first_left) if self.horizon else first_left
        self._leave(first_left)
        self.waiting = {c.number: c for c in kept[: self._bound]}
        self._heap = [self._entry(c) for c in self.waiting.values()]
        heapq.heapify(self._heap)
