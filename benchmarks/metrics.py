"""What recording one request costs: count, sum, bucket and percentile, beside prometheus_client.

"By name" looks the series up by its labels each time; "bound" keeps it, as hot paths do. Batches
of all variants take turns, a round keeps the best of each; ratios are of CPU time within a round.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as PrometheusCounter
from prometheus_client import Histogram as PrometheusHistogram

from benchmarks.report import Report, ratio
from penstock.observe.metrics import Metrics

CLAIM = "A request is recorded at a quarter of the cost of prometheus_client"
CALLS = 5000
BATCHES = 10
TARGETS = {
    "bound_per_prometheus_labels": 0.25,
    "by_name_per_prometheus_labels": 0.5,
    "bound_per_prometheus_children": 0.6,
}


def run(rounds: int = 7) -> Report:
    """Measure; microseconds of CPU per recorded request and ratios."""
    variants = _variants()
    best: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        batches: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(BATCHES):
            for name, record in variants.items():
                batches[name].append(_batch(record))
        for name, times in batches.items():
            best[name].append(min(times))
    rows = [
        {"variant": name, "microseconds": round(statistics.median(times), 3)}
        for name, times in best.items()
    ]
    ratios = {}
    for name, target in TARGETS.items():
        ours, theirs = name.split("_per_")
        ratios[name] = ratio(best[ours], best[theirs], most=target)
    return {"claim": CLAIM, "rows": rows, "ratios": ratios}


def _variants() -> dict[str, Callable[[float], None]]:
    metrics, registry = Metrics(), CollectorRegistry()
    labels = {"method": "POST", "route": "/v1/moderations", "status": "200"}
    names = list(labels)
    requests, duration = "http_server_requests_total", "http_server_request_duration_seconds"
    counter, histogram = metrics.counter(requests, **labels), metrics.histogram(duration, **labels)
    theirs_counted = PrometheusCounter("requests", "Requests", names, registry=registry)
    theirs_timed = PrometheusHistogram(
        "duration", "Duration", names, registry=registry, buckets=histogram.bounds
    )
    child_counted, child_timed = theirs_counted.labels(**labels), theirs_timed.labels(**labels)

    def bound(value: float) -> None:
        counter.value += 1
        histogram.record(value)

    def by_name(value: float) -> None:
        metrics.count(requests, method="POST", route="/v1/moderations", status="200")
        metrics.observe(duration, value, method="POST", route="/v1/moderations", status="200")

    def prometheus_children(value: float) -> None:
        child_counted.inc()
        child_timed.observe(value)

    def prometheus_labels(value: float) -> None:
        theirs_counted.labels("POST", "/v1/moderations", "200").inc()
        theirs_timed.labels("POST", "/v1/moderations", "200").observe(value)

    every = (bound, by_name, prometheus_children, prometheus_labels)
    return {record.__name__: record for record in every}


def _batch(record: Callable[[float], None]) -> float:
    started = time.process_time()
    for number in range(CALLS):
        record(0.0001 * (number % 97))
    return (time.process_time() - started) / CALLS * 1e6


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 7), indent=2))
