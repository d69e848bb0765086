"""Statistics as people ask for them: per day, flag, hour of an upstream, and user.

Reads counters and puts them in order; formats nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from penstock.usage.durations import percentile
from penstock.usage.statistics import (
    REQUESTS,
    UPSTREAM,
    Statistics,
    Upstream,
    blocked_users,
    flags,
    times,
    users,
)

HOUR: Final = 3_600_000  # milliseconds
UPSTREAMS: Final[tuple[Upstream, ...]] = ("text", "image")


class Totals(msgspec.Struct):
    """Requests, and what came of them."""

    requests: int = 0
    blocked: int = 0
    review: int = 0
    cached: int = 0


class Calls(msgspec.Struct):
    """Calls of providers, and how long they took together."""

    calls: int = 0
    errors: int = 0
    micros: int = 0

    def __add__(self, other: Calls) -> Calls:
        return Calls(
            self.calls + other.calls, self.errors + other.errors, self.micros + other.micros
        )

    @property
    def mean_seconds(self) -> float:
        """Of one call."""
        return self.micros / self.calls / 1e6 if self.calls else 0.0


class Durations(NamedTuple):
    """How long requests or calls took, in seconds; all but `mean` to a twelfth."""

    mean: float
    p50: float
    p95: float
    p99: float
    shortest: float
    longest: float


class UserTotals(NamedTuple):
    """What one user asked."""

    user: str
    requests: int
    blocked: int


class Users(NamedTuple):
    """Those who asked most, and how many there are."""

    number: int
    top: list[UserTotals]


class Readout(msgspec.Struct):
    """What was counted of a service, and of upstreams by whichever service; days as instants, ms.

    Days and hours on which nothing was counted are missing.
    """

    days: dict[int, Totals]
    flags: dict[int, dict[str, int]]
    times: dict[int, dict[str, int]]
    hours: dict[Upstream, dict[int, Calls]]
    calls: dict[Upstream, Counter[str]]  # durations by bucket

    @property
    def total(self) -> Totals:
        """Of all days."""
        sums = Totals()
        for day in self.days.values():
            for name in Totals.__struct_fields__:
                setattr(sums, name, getattr(sums, name) + getattr(day, name))
        return sums

    @property
    def flag_totals(self) -> dict[str, int]:
        """Of all days, the most frequent flag first."""
        sums: Counter[str] = Counter()
        for day in self.flags.values():
            sums.update(day)
        return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))

    @property
    def durations(self) -> Durations:
        """How long the service's requests took."""
        sums: Counter[str] = Counter()
        for day in self.times.values():
            sums.update(day)
        return spread(sums)

    def upstream(self, what: Upstream, *, since: int = 0) -> Calls:
        """Calls from an instant on."""
        return sum((one for at, one in self.hours[what].items() if at >= since), Calls())


async def read(statistics: Statistics, service: str, first: int, last: int) -> Readout:
    """What was counted on these days."""
    kinds = [REQUESTS, flags(service), times(service), UPSTREAM, *map(times, UPSTREAMS)]
    found = await statistics.rows(kinds, first, last)
    out = Readout({}, {}, {}, {"text": {}, "image": {}}, {"text": Counter(), "image": Counter()})
    for (day, kind, name), value in sorted(found.items()):
        if kind == REQUESTS:
            of, _, what = name.partition(".")
            if of == service:
                totals = out.days.setdefault(day, Totals())
                setattr(totals, "requests" if what == "total" else what, value)
        elif kind == UPSTREAM:
            _add_calls(out, day, name, value)
        elif kind == flags(service):
            out.flags.setdefault(day, {})[name] = value
        elif kind == times(service):
            out.times.setdefault(day, {})[name] = value
        for upstream in UPSTREAMS:
            if kind == times(upstream):
                out.calls[upstream][name] += value
    return out


async def read_users(
    statistics: Statistics, service: str, first: int, last: int, *, limit: int
) -> Users:
    """Those who asked most on these days."""
    top = await statistics.top(users(service), first, last, limit=limit)
    names = [name for name, _ in top.highest]
    blocked = await read_user_days(statistics, service, first, last, names=names, only_blocked=True)
    sums = {name: sum(found.blocked for found in days.values()) for name, days in blocked.items()}
    return Users(
        top.names, [UserTotals(name, value, sums.get(name, 0)) for name, value in top.highest]
    )


async def read_user_days(
    statistics: Statistics,
    service: str,
    first: int,
    last: int,
    *,
    names: list[str],
    only_blocked: bool = False,
) -> dict[str, dict[int, Totals]]:
    """What these users asked, by day."""
    kinds = [blocked_users(service)] if only_blocked else [users(service), blocked_users(service)]
    found = await statistics.rows(kinds, first, last, names=names) if names else {}
    days: dict[str, dict[int, Totals]] = {}
    for (day, kind, name), value in sorted(found.items()):
        totals = days.setdefault(name, {}).setdefault(day, Totals())
        if kind == users(service):
            totals.requests = value
        else:
            totals.blocked = value
    return days


def spread(counts: Mapping[str, int]) -> Durations:
    """Durations that were counted by bucket."""
    number = sum(value for name, value in counts.items() if name != "micros")
    if not number:
        return Durations(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    shares = [percentile(counts, share) for share in (0.5, 0.95, 0.99, 0.0, 1.0)]
    return Durations(counts.get("micros", 0) / number / 1e6, *shares)


def _add_calls(out: Readout, day: int, name: str, value: int) -> None:
    what, hour, field = name.split(".")
    if what in UPSTREAMS:
        calls = out.hours[what].setdefault(day + int(hour) * HOUR, Calls())
        setattr(calls, field, value)
