"""How much was asked and what came of it: by day, user, flag and kind of upstream.

    answered, called (memory) ── 50 ms ──> one batch ──> Redis (one round trip) or one transaction

A request leaves a note of what happened, and notes are counted together. A batch that could not be
written is kept as it is and handed over again with its number, which is added once; what comes
meanwhile gathers behind it. Redis may lose what it took: the next batch shows it, and what is gone
is counted as lost. Users and their number are bounded per day: those beyond are counted
together, as "other".
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final, Literal, NamedTuple

from penstock.clock import Clock
from penstock.observe.effects import Effects
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.usage.counters import DAY, Batch, Counters, Place, Top
from penstock.usage.durations import bucket

Upstream = Literal["text", "image"]

EFFECT: Final = "statistics"
OTHER: Final = "other"  # who came after the most users of a day
MOST_USERS: Final = 10_000  # of a day, in one process
LONGEST_NAME: Final = 128
MOST_EVENTS: Final = 300  # before they are counted: less than a millisecond
MOST_FIELDS: Final = 50_000  # numbers that wait to be written
RESERVED: Final = 10_000  # more of them, for those that are not of users
TOGETHER: Final = 2_000  # of one batch

UPSTREAM: Final = "upstream"
REQUESTS: Final = "requests"

_DAY_SECONDS: Final = DAY // 1000

_log = get_logger("penstock.usage")

_Event = (
    tuple[str, str, str, bool, tuple[str, ...], float | None] | tuple[Upstream, float, float, bool]
)
"""What `answered` and `called` were told."""


def users(service: str) -> str:
    """The kind under which a service's requests are counted by user."""
    return f"users:{service}"


def blocked_users(service: str) -> str:
    """The same of requests that were blocked."""
    return f"blocked_users:{service}"


def flags(service: str) -> str:
    """The kind under which a service's flags are counted."""
    return f"flags:{service}"


def times(service: str) -> str:
    """The kind under which a service's durations are counted, by bucket; `micros` is their sum."""
    return f"times:{service}"


class _Words(NamedTuple):
    """Kinds and names of one service, put together once."""

    total: str
    blocked: str
    review: str
    cached: str
    users: str
    blocked_users: str
    flags: str
    times: str


@lru_cache(maxsize=64)
def _words(service: str) -> _Words:
    names = (f"{service}.{name}" for name in ("total", "blocked", "review", "cached"))
    return _Words(*names, *(of(service) for of in (users, blocked_users, flags, times)))


class Statistics:
    """Counts, hands over and reads. Belongs to one event loop."""

    def __init__(
        self,
        counters: Counters,
        *,
        clock: Clock,
        effects: Effects,
        metrics: Metrics | None = None,
    ) -> None:
        self._counters = counters
        self._clock = clock
        self._metrics = metrics
        self._counted: dict[tuple[str, str], int] = {}  # today's, by kind and name
        self._events: list[_Event] = []  # today's, not counted yet
        self._ready: deque[Batch] = deque()  # numbered, the oldest first; may be half written
        self._waiting = 0  # numbers in them
        self._names: dict[str, set[str]] = {}  # today's users by kind
        self._learnt = False  # whether those of before this process are among them
        self._begins = self._ends = 0.0  # of today, in seconds
        self._source = secrets.token_hex(6)
        self._since = int(clock.now() * 1000) // DAY * DAY
        self._number = 0
        self._on_record = Counter(batches=0, numbers=0)  # that this process added
        self._turn = asyncio.Lock()
        self._effect = effects.effect(EFFECT, self.flush, waiting=lambda: self.waiting)

    @property
    def kept_in(self) -> Literal["database", "redis"]:
        """What has the numbers of today; those of days before Redis was set are in the database."""
        return self._counters.kept_in

    @property
    def waiting(self) -> int:
        """How many numbers are not written yet."""
        return self._waiting + len(self._counted) + len(self._events)

    def answered(
        self,
        service: str,
        *,
        user: str,
        decision: str,
        cached: bool = False,
        flagged: Iterable[str] = (),
        seconds: float | None = None,
    ) -> None:
        """Count one answered request. Costs about a microsecond; never raises, never waits."""
        self._note((service, user, decision, cached, tuple(flagged), seconds))

    def count(self, kind: str, name: str, amount: int = 1) -> None:
        """Count something of its own; kinds and names are few and not the users' to choose."""
        self._look_at_the_day()
        self._add(kind, name, amount)

    def called(self, what: Upstream, seconds: float, *, failed: bool) -> None:
        """Count one call of a provider for a text or an image."""
        self._note((what, self._clock.now(), seconds, failed))

    async def flush(self) -> bool:
        """Hand over all that is counted. Raises what went wrong; then it waits as it is."""
        async with self._turn:
            self._count_events()
            if not self._learnt and any(self._names.values()):
                await self._learn()
            self._gather()
            while self._ready:
                gone = await self._counters.add(self._ready[0])
                if gone:
                    self._tell_loss(gone)
                added = len(self._ready.popleft().counts)
                self._waiting -= added
                self._on_record.update(batches=1, numbers=added)
        return True

    async def rows(
        self, kinds: Sequence[str], first: int, last: int, *, names: Sequence[str] | None = None
    ) -> dict[Place, int]:
        """Numbers by place, of days as their first instants in ms; other servers' to 50 ms."""
        await self.flush()
        return await self._counters.rows(kinds, first, last, names=names)

    async def top(self, kind: str, first: int, last: int, *, limit: int) -> Top:
        """The names with the highest sums."""
        await self.flush()
        return await self._counters.top(kind, first, last, limit=limit)

    def _tell_loss(self, batches: int) -> None:
        """Count what is on record no more; where that is not all of it, by its share."""
        kept = self._on_record
        batches = min(batches, kept["batches"])
        numbers = kept["numbers"] * batches // max(kept["batches"], 1)
        kept.subtract({"batches": batches, "numbers": numbers})
        _log.error("statistics.lost", batches=batches, numbers=numbers)
        self._effect.lose(numbers)

    def _look_at_the_day(self) -> None:
        now = self._clock.now()
        if not self._begins <= now < self._ends:
            self._gather()
            self._begins = now // _DAY_SECONDS * _DAY_SECONDS
            self._ends = self._begins + _DAY_SECONDS
            self._names = {}
            self._learnt = False

    def _add(self, kind: str, name: str, amount: int = 1) -> None:
        try:
            self._counted[kind, name] += amount
        except KeyError:
            self._open(kind, name, amount, most=MOST_FIELDS + RESERVED)

    def _note(self, event: _Event) -> None:
        """Keep what happened; a tenth of the cost of counting it right now, with cold caches."""
        self._look_at_the_day()
        events = self._events
        events.append(event)
        if len(events) == 1:
            self._effect.wake()
        elif len(events) >= MOST_EVENTS:
            self._count_events()

    def _count_events(self) -> None:
        events, self._events = self._events, []
        alike: dict[tuple[str, str, bool, tuple[str, ...]], int] = {}
        for event in events:
            if len(event) == 4:
                self._add_call(*event)
                continue
            service, user, decision, cached, flagged, seconds = event
            words = _words(service)
            self._add_user(words.users, user)
            if decision == "rejected":
                self._add_user(words.blocked_users, user)
            if seconds is not None:
                self._add(words.times, "micros", round(seconds * 1e6))
                self._add(words.times, bucket(seconds))
            outcome = (service, decision, cached, flagged)
            alike[outcome] = alike.get(outcome, 0) + 1
        for outcome, number in alike.items():
            self._add_outcomes(*outcome, number)

    def _add_outcomes(
        self, service: str, decision: str, cached: bool, flagged: tuple[str, ...], number: int
    ) -> None:
        words = _words(service)
        self._add(REQUESTS, words.total, number)
        if decision == "rejected":
            self._add(REQUESTS, words.blocked, number)
        elif decision == "review":
            self._add(REQUESTS, words.review, number)
        if cached:
            self._add(REQUESTS, words.cached, number)
        for flag in flagged:
            self._add(words.flags, flag, number)

    def _add_call(self, what: Upstream, at: float, seconds: float, failed: bool) -> None:
        place = f"{what}.{int(at - self._begins) // 3600:02}"
        self._add(UPSTREAM, f"{place}.calls")
        self._add(UPSTREAM, f"{place}.micros", round(seconds * 1e6))
        if failed:
            self._add(UPSTREAM, f"{place}.errors")
        self._add(times(what), bucket(seconds))
        if self._metrics is not None:
            outcome = "error" if failed else "ok"
            name = "penstock_upstream_seconds"
            self._metrics.observe(name, seconds, type=what, outcome=outcome)

    def _add_user(self, kind: str, name: str) -> None:
        try:
            self._counted[kind, name] += 1
        except KeyError:
            self._open(kind, self._known(kind, name), 1, most=MOST_FIELDS)

    def _known(self, kind: str, name: str) -> str:
        """The name, or what stands for all who came too late today."""
        names = self._names.setdefault(kind, set())
        if name not in names:
            if len(names) >= MOST_USERS or len(name) > LONGEST_NAME or not name.isprintable():
                return OTHER
            names.add(name)
        return name

    def _open(self, kind: str, name: str, amount: int, *, most: int) -> None:
        key = (kind, name)
        if key in self._counted:
            self._counted[key] += amount
        elif self.waiting >= most:
            self._effect.lose(1)
        else:
            self._counted[key] = amount
            self._effect.wake()

    def _gather(self) -> None:
        """Make batches of what was counted since; from here on they do not change."""
        self._count_events()
        day = int(self._begins) * 1000
        left = iter(self._counted.items())
        self._counted = {}
        while part := list(islice(left, TOGETHER)):
            self._number += 1
            counts = {Place(day, *key): amount for key, amount in part}
            self._ready.append(Batch(self._source, self._number, self._since, counts))
            self._waiting += len(counts)

    async def _learn(self) -> None:
        """Whom processes counted today before this one, so that the bound is not each one's own."""
        day, kinds = int(self._begins) * 1000, list(self._names)
        for place in await self._counters.rows(kinds, day, day):
            names = self._names.setdefault(place.kind, set())
            if len(names) < MOST_USERS:
                names.add(place.name)
        self._learnt = True
