from __future__ import annotations

import random
import sys
import tracemalloc
from collections.abc import Iterator
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.observe.metrics import COUNT_BOUNDS, RECENT, SECONDS_BOUNDS, Counter, Metrics

NAME = "penstock_work_duration_seconds"


def exact(values: list[float], quantile: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, -int(-quantile * len(ordered) // 1) - 1)]


def test_a_counter_adds_up_per_label_and_in_total() -> None:
    metrics = Metrics()

    metrics.count("penstock_hits_total", tier="memory")
    metrics.count("penstock_hits_total", 2, tier="disk")

    assert metrics.total("penstock_hits_total", tier="disk") == 2
    assert metrics.total("penstock_hits_total") == 3


def test_the_order_of_labels_does_not_matter() -> None:
    metrics = Metrics()

    metrics.count("penstock_hits_total", tier="memory", kind="text")
    metrics.count("penstock_hits_total", kind="text", tier="memory")

    assert len(list(metrics.series())) == 1
    assert metrics.total("penstock_hits_total") == 2


def test_a_bound_counter_and_a_named_one_are_the_same() -> None:
    metrics = Metrics()
    bound = metrics.counter("penstock_hits_total", tier="memory")

    bound.add()
    bound.value += 1
    metrics.count("penstock_hits_total", tier="memory")

    assert bound.value == 3


def test_a_gauge_is_what_was_set_last_and_can_be_moved() -> None:
    metrics = Metrics()

    metrics.gauge("penstock_cache_entries", 5, tier="memory")
    metrics.gauge("penstock_cache_entries", 7, tier="memory")
    metrics.bound_gauge("penstock_cache_entries", tier="memory").add(-2)

    assert metrics.total("penstock_cache_entries") == 5


def test_a_bound_gauge_can_be_set() -> None:
    gauge = Metrics().bound_gauge("penstock_cache_entries")

    gauge.set(3)

    assert gauge.value == 3


def test_nothing_recorded_reads_as_zero() -> None:
    metrics = Metrics()
    metrics.histogram(NAME)

    assert metrics.total("penstock_unknown_total") == 0
    assert metrics.summary("penstock_unknown_seconds").count == 0
    assert metrics.summary(NAME).p99 == 0


def test_percentiles_over_recent_values_are_exact() -> None:
    metrics = Metrics()
    for number in range(100, 0, -1):
        metrics.observe(NAME, number / 1000)

    summary = metrics.summary(NAME)

    assert (summary.p50, summary.p95, summary.p99) == (0.05, 0.095, 0.099)
    assert (summary.min, summary.max, summary.count) == (0.001, 0.1, 100)
    assert summary.exact


def test_percentiles_of_one_series_forget_what_is_long_ago() -> None:
    metrics = Metrics()
    for value in [9.0] * 100 + [0.5] * RECENT:
        metrics.observe(NAME, value)

    summary = metrics.summary(NAME)

    assert summary.p99 == 0.5
    assert summary.max == 9.0


def test_percentiles_over_many_series_are_within_one_percent() -> None:
    metrics, chance = Metrics(), random.Random(7)
    values = [chance.lognormvariate(-5, 1.5) for _ in range(20_000)]
    for number, value in enumerate(values):
        metrics.observe(NAME, value, route=str(number % 3))

    summary = metrics.summary(NAME)

    assert not summary.exact
    for quantile, told in ((0.5, summary.p50), (0.95, summary.p95), (0.99, summary.p99)):
        assert told == pytest.approx(exact(values, quantile), rel=0.01)


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_any_value_is_known_within_one_percent(value: float) -> None:
    metrics = Metrics()
    for _ in range(2):
        histogram = metrics.histogram(NAME, part="a")
        for _ in range(RECENT):
            histogram.record(value)
    metrics.observe(NAME, value, part="b")

    told = metrics.summary(NAME).p50

    assert told == pytest.approx(value, rel=0.01)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-12, 1e300, float("inf")])
def test_a_value_out_of_range_is_clamped_and_counted(value: float) -> None:
    metrics = Metrics()
    for part in "ab":
        for _ in range(RECENT + 1):
            metrics.observe(NAME, value, part=part)

    summary = metrics.summary(NAME)

    assert summary.count == 2 * (RECENT + 1)
    assert 0 <= summary.min <= summary.p50 <= summary.max * 1.01
    assert summary.max <= 1e12


def test_nan_is_dropped() -> None:
    metrics = Metrics()

    metrics.observe(NAME, float("nan"))

    assert metrics.summary(NAME).count == 0


def test_a_value_on_a_boundary_belongs_below_it() -> None:
    histogram = Metrics().histogram(NAME)

    histogram.record(SECONDS_BOUNDS[0])
    histogram.record(11.0)

    assert len(histogram.bounds_counts) == 15
    assert (histogram.bounds_counts[0], histogram.bounds_counts[-1]) == (1, 1)


def test_counts_have_wider_boundaries_than_durations() -> None:
    assert Metrics().histogram("gen_ai_client_usage_tokens").bounds == COUNT_BOUNDS


def test_series_beyond_the_cap_share_one_that_says_overflow() -> None:
    metrics = Metrics(series_cap=3)

    for number in range(10):
        metrics.count("penstock_hits_total", tier=str(number))
        metrics.observe(NAME, 1.0, tier=str(number))

    assert metrics.total("penstock_hits_total") == 10
    assert metrics.total("penstock_hits_total", tier="overflow") == 7
    assert metrics.summary(NAME, tier="overflow").count == 7
    assert len(list(metrics.series())) == 8


def test_memory_is_constant_whatever_is_recorded() -> None:
    """O-23: lists of a source system grew without bound."""
    metrics, chance = Metrics(series_cap=50), random.Random(1)

    def record(times: int) -> int:
        for number in range(times):
            metrics.observe(NAME, chance.lognormvariate(-5, 2), route=str(number))
            metrics.count("penstock_hits_total", user=str(number))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        full = record(10_000)
        later = record(20_000)
    finally:
        tracemalloc.stop()

    assert later < full * 1.3


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("impatient_threads")
def test_counts_are_exact_under_eight_threads() -> None:
    metrics = Metrics()

    def work(number: int) -> None:
        bound = metrics.counter("penstock_bound_total")
        for step in range(5_000):
            metrics.count("penstock_hits_total", tier=str(step % 7))
            metrics.observe(NAME, 0.25, thread=str(number % 2))
            bound.value += 1

    threads = [Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    summary = metrics.summary(NAME)
    assert metrics.total("penstock_hits_total") == metrics.total("penstock_bound_total") == 40_000
    assert (summary.count, summary.sum) == (40_000, 10_000)
    for series in metrics.series():
        assert isinstance(series, Counter) or sum(series.buckets.values()) == series.count


@pytest.mark.parametrize(
    "name",
    ["hits_total", "penstock_Hits_total", "penstock__x_total", "penstock_hits", "http_requests"],
)
def test_a_counters_name_is_checked(name: str) -> None:
    with pytest.raises(ValueError, match="metric"):
        Metrics().count(name)


def test_a_histogram_names_its_unit() -> None:
    with pytest.raises(ValueError, match="must end in its unit"):
        Metrics().observe("penstock_work_duration", 1.0)


def test_a_gauge_does_not_end_like_a_counter() -> None:
    with pytest.raises(ValueError, match="only counters"):
        Metrics().gauge("penstock_entries_total", 1.0)


def test_a_label_is_snake_case_and_a_string() -> None:
    metrics = Metrics()

    with pytest.raises(ValueError, match="label 'Tier'"):
        metrics.count("penstock_hits_total", Tier="memory")
    with pytest.raises(ValueError, match="label 'tier'"):
        metrics.count("penstock_hits_total", tier=1)  # type: ignore[arg-type]


def test_a_metric_keeps_its_kind() -> None:
    metrics = Metrics()
    metrics.gauge("penstock_queue_seconds", 1.0)

    with pytest.raises(ValueError, match="is a Gauge, not a Histogram"):
        metrics.observe("penstock_queue_seconds", 1.0)
