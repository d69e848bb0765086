"""What GET /api/metrics answers: of this process, or of all that share a Redis, since midnight UTC.

FIST's document, and beside it what became of jobs; on demand every series. How many jobs wait is
looked up when somebody asks, of all processes that share the queues: no job pays for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from penstock.batch.work import BATCHES, ITEMS
from penstock.errors import StorageError
from penstock.http.timing import DURATION, REQUESTS
from penstock.observe.health import SystemUsage
from penstock.observe.metrics import Counter, Histogram, Metrics
from penstock.observe.sharing import EVERY
from penstock.runtime import Runtime
from penstock.web.instants import instant

Scope = Literal["process", "all"]

QUEUED: Final = "penstock_jobs_queued"
PATIENCE: Final = 1.0  # seconds that a broker has to tell how many jobs wait

_STATES = ("completed", "failed", "cancelled", "expired")


async def document(
    runtime: Runtime, system: SystemUsage, *, scope: Scope, series: bool
) -> dict[str, Any]:
    """The whole answer. Raises StorageUnavailable where others are asked for and Redis is away.

    Without Redis there are no others: the answer's own `scope` says whose numbers it has.
    """
    metrics, since = runtime.metrics, None
    if scope == "all" and runtime.sharing is not None:
        metrics, since = await runtime.sharing.read()
    depths = await _depths(runtime)
    told = {
        "enabled": runtime.settings.enable_metrics,
        "scope": "process" if since is None else "all",
        "since": None if since is None else instant(int(since * 1000)),
        "others_behind_seconds": 0.0 if since is None else EVERY,
        **_summary(metrics, depths),
        "system": msgspec.to_builtins(system),
    }
    if series:
        told |= _every(metrics, depths)
    return told


async def _depths(runtime: Runtime) -> Metrics:
    """How many jobs wait in each queue, of all priorities; nothing where that cannot be told."""
    depths = Metrics()
    try:
        async with asyncio.timeout(PATIENCE):
            queues = await runtime.jobs.store.queues()
    except (StorageError, TimeoutError):
        return depths
    for queue in queues:
        depths.gauge(QUEUED, sum(queue.queued.values()), queue=queue.name)
    return depths


def _summary(metrics: Metrics, depths: Metrics) -> dict[str, Any]:
    requests = metrics.total(REQUESTS)
    counters = [s for s in metrics.series() if isinstance(s, Counter) and s.name == REQUESTS]
    errors = sum(s.value for s in counters if dict(s.labels)["status"] >= "400")
    hits = metrics.total("penstock_cache_hits_total")
    misses = metrics.total("penstock_cache_computations_total")
    return {
        "requests": {
            "total": int(requests),
            "errors": int(errors),
            "error_rate": errors / requests if requests else 0.0,
        },
        "response_time_seconds": _spread(metrics, DURATION),
        "moderation": {
            "verdicts": int(metrics.total("penstock_verdicts_total")),
            "model_calls": int(metrics.total("penstock_model_calls_total")),
            "degraded": int(metrics.total("penstock_degraded_total")),
        },
        "cache": {
            "hits": int(hits),
            "misses": int(misses),
            "hit_rate": hits / (hits + misses) if hits + misses else 0.0,
        },
        "batch": {
            "total": int(metrics.total(BATCHES)),
            "completed": int(metrics.total(BATCHES, status="completed")),
            "failed": int(metrics.total(BATCHES, status="failed")),
            "items": int(metrics.total(ITEMS)),
            "items_cached": int(metrics.total(ITEMS, outcome="cached")),
            "items_failed": int(metrics.total(ITEMS, outcome="failed")),
        },
        "jobs": {
            "queued": {dict(one.labels)["queue"]: one.value for one in _numbers(depths)} or None,
            **{state: int(metrics.total("penstock_jobs_total", state=state)) for state in _STATES},
            "retries": int(metrics.total("penstock_job_retries_total")),
            "wait_seconds": _spread(metrics, "penstock_job_wait_seconds"),
            "run_seconds": _spread(metrics, "penstock_job_run_seconds"),
        },
    }


def _every(metrics: Metrics, depths: Metrics) -> dict[str, Any]:
    """Every counter and gauge by its labels, and every histogram over all of its."""
    spreads = [one.name for one in metrics.series() if isinstance(one, Histogram)]
    return {
        "series": [
            {"name": one.name, "labels": dict(one.labels), "value": one.value}
            for one in (*_numbers(metrics), *_numbers(depths))
        ],
        "histograms": {
            name: msgspec.to_builtins(metrics.summary(name)) for name in dict.fromkeys(spreads)
        },
    }


def _numbers(metrics: Metrics) -> Iterator[Counter]:
    return (one for one in metrics.series() if not isinstance(one, Histogram))


def _spread(metrics: Metrics, name: str) -> dict[str, float]:
    told = metrics.summary(name)
    return {"average": told.mean, "p50": told.p50, "p95": told.p95, "p99": told.p99}
