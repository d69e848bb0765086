"""Counters, gauges and histograms in plain Python: one registry per runtime.

A recording costs a dictionary look-up and a few additions, because it happens on every request;
reading is slower and rarer. Memory is constant per series, and the number of series per metric is
capped, whatever is recorded.

Exact under threads as long as there is a GIL: every update is one `+=` without a call between its
read and its write, which CPython does not interrupt. `sharing.py` adds up those of several
processes; exposition as text is not done.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter as Counts
from collections import defaultdict, deque
from collections.abc import Iterator
from itertools import accumulate
from math import ceil, frexp, inf, isnan, ldexp
from threading import Lock
from typing import Any, Final, Generic, TypeVar

import msgspec

Labels = tuple[tuple[str, str], ...]

SERIES_CAP: Final = 2000
OVERFLOW: Final = "overflow"  # label value of what no longer fits under the cap
RECENT: Final = 1024  # values kept as they were per histogram

# OpenTelemetry's boundaries: HTTP durations (semconv 1.23), token counts (semconv gen_ai).
SECONDS_BOUNDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)
COUNT_BOUNDS: Final = tuple(float(4**power) for power in range(14))

_NAME = re.compile(r"(?:penstock|http|gen_ai)(?:_[a-z0-9]+)+")
_LABEL = re.compile(r"[a-z][a-z0-9_]*")
_UNITS = ("seconds", "bytes", "tokens", "items", "ratio", "micros", "percent", "words", "rows")
_FRACTIONS = ("_seconds", "_ratio")
_FLOOR = 1e-9  # what is smaller counts as zero
_CEILING = 1e12
_ZERO_BUCKET = -(1 << 20)  # below every index that _FLOOR can give
_QUANTILES = (0.50, 0.95, 0.99)


class Counter:
    """A number that only grows. Read `value`; write with `add`."""

    __slots__ = ("labels", "name", "value")

    def __init__(self, name: str, labels: Labels) -> None:
        self.name = name
        self.labels = labels
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        """Grow by `amount`."""
        self.value += amount


class Gauge(Counter):
    """A number that is set to what is the case now, or moved by `add`."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value


class Histogram:
    """How recorded values are spread; constant memory.

    Three views: `bounds_counts` per upper bound (exact, for `le` buckets; the last is unbounded),
    log-linear buckets of 64 per octave since the start (percentiles within 0.8 %), and the last
    1,024 values as they were. Values are clamped to 0 or 1e-9..1e12; NaN is dropped.
    """

    __slots__ = (
        *("bounds", "bounds_counts", "buckets", "labels", "max", "min", "name", "recent", "sum"),
    )

    def __init__(self, name: str, labels: Labels) -> None:
        self.name = name
        self.labels = labels
        self.bounds = SECONDS_BOUNDS if name.endswith(_FRACTIONS) else COUNT_BOUNDS
        self.bounds_counts = [0] * (len(self.bounds) + 1)
        self.buckets: defaultdict[int, int] = defaultdict(int)
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.sum = 0.0
        self.min = inf
        self.max = 0.0

    @property
    def count(self) -> int:
        """How many values were recorded."""
        return sum(self.bounds_counts)

    def record(self, value: float) -> None:
        """Add one value, in the unit that the name says."""
        if _FLOOR <= value <= _CEILING:
            mantissa, exponent = frexp(value)
            self.buckets[int(mantissa * 128.0) + (exponent << 6)] += 1
        else:
            if isnan(value):
                return
            value = 0.0 if value < _FLOOR else _CEILING
            self.buckets[_bucket(value)] += 1
        self.bounds_counts[bisect_left(self.bounds, value)] += 1
        self.recent.append(value)
        self.sum += value
        if value > self.max:
            self.max = value
        if value < self.min:
            self.min = value

    def limit(self) -> None:
        """Derive least and greatest from the buckets, where values as they were are not known."""
        if self.buckets:
            self.min, self.max = _middle(min(self.buckets)), _middle(max(self.buckets))


Series = Counter | Gauge | Histogram
S = TypeVar("S", Counter, Gauge, Histogram)


class Summary(msgspec.Struct, frozen=True):
    """The read-out of a histogram; all zero when nothing was recorded.

    Count, sum, min, max and mean are since the start. Percentiles are exact over the last 1,024
    values of one series; over several series of which one has recorded more than that, or where
    values as they were are not known, they are since the start and within 1 % (`exact` is False).
    """

    count: int = 0
    sum: float = 0.0
    min: float = 0.0
    max: float = 0.0
    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    exact: bool = True


class Metrics:
    """One registry. Labels are strings with few values: never an id, a URL or a user's text.

    >>> metrics = Metrics()
    >>> metrics.count("penstock_cache_hits_total", tier="memory")
    >>> metrics.total("penstock_cache_hits_total")
    1.0

    A metric's first use fixes its kind. ValueError for a name that breaks the naming rules or
    changes its kind.
    """

    def __init__(self, *, series_cap: int = SERIES_CAP) -> None:
        self._cap = series_cap
        self._lock = Lock()
        self._families: dict[str, _Family[Any]] = {}
        # The same series under their labels in the order in which callers write them.
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._gauges: dict[tuple[str, ...], Gauge] = {}
        self._histograms: dict[tuple[str, ...], Histogram] = {}

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""
        try:
            self._counters[(name, *labels, *labels.values())].value += amount
        except KeyError:
            self.counter(name, **labels).value += amount

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Add a value to a histogram."""
        try:
            series = self._histograms[(name, *labels, *labels.values())]
        except KeyError:
            series = self.histogram(name, **labels)
        series.record(value)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        try:
            self._gauges[(name, *labels, *labels.values())].value = value
        except KeyError:
            self.bound_gauge(name, **labels).value = value

    def counter(self, name: str, /, **labels: str) -> Counter:
        """Return the counter of these labels, to be kept by who adds to it often."""
        return self._bind(self._counters, Counter, name, labels)

    def bound_gauge(self, name: str, /, **labels: str) -> Gauge:
        """Return the gauge of these labels, to be kept by who moves it often."""
        return self._bind(self._gauges, Gauge, name, labels)

    def histogram(self, name: str, /, **labels: str) -> Histogram:
        """Return the histogram of these labels, to be kept by who records often."""
        return self._bind(self._histograms, Histogram, name, labels)

    def total(self, name: str, /, **labels: str) -> float:
        """Sum the series that carry these labels: values, or counts of a histogram."""
        found = self._matching(name, labels)
        return float(sum(s.count if isinstance(s, Histogram) else s.value for s in found))

    def summary(self, name: str, /, **labels: str) -> Summary:
        """Read a histogram over the series that carry these labels."""
        found = self._matching(name, labels)
        return _summarise([s for s in found if isinstance(s, Histogram) and s.count])

    def series(self) -> Iterator[Series]:
        """Every series, metric by metric in order of first use."""
        for family in list(self._families.values()):
            yield from list(family.series.values())

    def _matching(self, name: str, labels: dict[str, str]) -> list[Series]:
        family = self._families.get(name)
        if family is None:
            return []
        wanted = labels.items()
        return [s for s in list(family.series.values()) if wanted <= dict(s.labels).items()]

    def _bind(
        self, bound: dict[tuple[str, ...], S], kind: type[S], name: str, labels: dict[str, str]
    ) -> S:
        with self._lock:
            family = self._family(name, kind)
            key = tuple(sorted(labels.items()))
            series = family.series.get(key)
            if series is None:
                _check_labels(name, labels)
                if len(family.series) >= self._cap:
                    # Not bound to the caller's labels: their number is what must not grow.
                    key = tuple((label, OVERFLOW) for label, _ in key)
                    return family.series.setdefault(key, kind(name, key))
                series = family.series[key] = kind(name, key)
            bound[(name, *labels, *labels.values())] = series
            return series

    def _family(self, name: str, kind: type[S]) -> _Family[S]:
        family = self._families.get(name)
        if family is None:
            _check_name(name, kind)
            family = self._families[name] = _Family[S](kind)
        elif family.kind is not kind:
            raise ValueError(f"{name} is a {family.kind.__name__}, not a {kind.__name__}")
        return family


class _Family(Generic[S]):
    """The series of one metric."""

    __slots__ = ("kind", "series")

    def __init__(self, kind: type[S]) -> None:
        self.kind: type[S] = kind
        self.series: dict[Labels, S] = {}


def _check_name(name: str, kind: type[Series]) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"metric {name!r} must be snake case and start with penstock_, http_ or gen_ai_"
        )
    if (kind is Counter) != name.endswith("_total"):
        raise ValueError(f"metric {name!r}: counters, and only counters, end in _total")
    if kind is Histogram and not name.endswith(_UNITS):
        raise ValueError(f"metric {name!r} must end in its unit: {', '.join(_UNITS)}")


def _check_labels(name: str, labels: dict[str, str]) -> None:
    for label, value in labels.items():
        if not _LABEL.fullmatch(label) or not isinstance(value, str):
            raise ValueError(f"metric {name!r}: label {label!r} must be snake case and a string")


def _bucket(value: float) -> int:
    """The log-linear bucket of a value: 64 per octave, in the order of the values."""
    if value < _FLOOR:
        return _ZERO_BUCKET
    mantissa, exponent = frexp(value)
    return int(mantissa * 128.0) + (exponent << 6)


def _middle(bucket: int) -> float:
    """A value at most 1/128 from every value of the bucket."""
    if bucket == _ZERO_BUCKET:
        return 0.0
    exponent, step = divmod(bucket - 64, 64)
    return ldexp((step + 64.5) / 128.0, exponent)


def _summarise(found: list[Histogram]) -> Summary:
    if not found:
        return Summary()
    count = sum(s.count for s in found)
    total = sum(s.sum for s in found)
    complete = all(s.count <= len(s.recent) for s in found)
    exact = complete or (len(found) == 1 and bool(found[0].recent))
    p50, p95, p99 = _exact(found) if exact else _approximate(found)
    return Summary(
        count=count,
        sum=total,
        min=min(s.min for s in found),
        max=max(s.max for s in found),
        mean=total / count,
        p50=p50,
        p95=p95,
        p99=p99,
        exact=exact,
    )


def _exact(found: list[Histogram]) -> list[float]:
    values = sorted(value for s in found for value in list(s.recent))
    return [values[_rank(quantile, len(values))] for quantile in _QUANTILES]


def _approximate(found: list[Histogram]) -> list[float]:
    merged: Counts[int] = Counts()
    for series in found:
        merged.update(series.buckets.copy())
    buckets = sorted(merged)
    reached = list(accumulate(merged[bucket] for bucket in buckets))
    ranks = [_rank(quantile, reached[-1]) for quantile in _QUANTILES]
    return [_middle(buckets[bisect_right(reached, rank)]) for rank in ranks]


def _rank(quantile: float, count: int) -> int:
    """The index, counted from 0, of the smallest value that `quantile` of all do not exceed."""
    return max(0, ceil(quantile * count) - 1)
