"""What was counted, as FilterX writes it: whole milliseconds, whole per cent, its names.

What was counted in buckets (p95, shortest, longest) is at most a twelfth too high.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.usage.readout import UPSTREAMS, Calls, Durations, Readout, Totals, spread
from penstock.usage.statistics import Upstream
from penstock.web.instants import instant

Json = dict[str, Any]


def requests_of(found: Readout) -> Json:
    """Requests of all days, and how long they took."""
    times, total = found.durations, found.total
    return {
        **totals_of(total),
        "cacheHitRate": percent(total.cached, total.requests),
        "avgResponseTime": ms(times.mean),
        "p95ResponseTime": ms(times.p95),
        "minResponseTime": ms(times.shortest),
        "daysWithData": len(found.days),
    }


def api_of(found: Readout, what: Upstream) -> Json:
    """Calls of one kind of upstream."""
    calls = found.upstream(what)
    return {
        "calls": calls.calls,
        "errors": calls.errors,
        "errorRate": percent(calls.errors, calls.calls),
        "avgResponseTime": ms(calls.mean_seconds),
        "maxResponseTime": ms(spread(found.calls[what]).longest),
        "hoursWithData": len(found.hours[what]),
    }


def flags_of(found: Readout) -> Json:
    """Flags, the most frequent first."""
    totals = found.flag_totals
    return {
        "flags": {
            flag: {"count": count, "daysActive": sum(flag in day for day in found.flags.values())}
            for flag, count in totals.items()
        },
        "totalFlags": sum(totals.values()),
        "uniqueFlags": len(totals),
    }


def history_of(found: Readout) -> Json:
    """Rows by day, flag and hour, named as its tables have it."""
    return {
        "requestStats": [
            {
                **{name: value for name, value in day.items() if not name.endswith("ResponseTime")},
                "avgResponseTimeMs": day["avgResponseTime"],
                "p95ResponseTimeMs": day["p95ResponseTime"],
            }
            for day in days_of(found)
        ],
        "contentFlags": [
            {"date": day_of(day), "flagName": flag, "count": count}
            for day, flags in sorted(found.flags.items())
            for flag, count in sorted(flags.items())
        ],
        "apiPerformance": [
            {
                **{name: value for name, value in hour.items() if name != "avgResponseTime"},
                "avgResponseTimeMs": hour["avgResponseTime"],
            }
            for hour in hours_of(found)
        ],
    }


def days_of(found: Readout) -> list[Json]:
    """Requests by day."""
    rows = []
    for day, totals in sorted(found.days.items()):
        times: Durations = spread(found.times.get(day, {}))
        averages = {"avgResponseTime": ms(times.mean), "p95ResponseTime": ms(times.p95)}
        rows.append({"date": day_of(day), **totals_of(totals), **averages})
    return rows


def hours_of(found: Readout) -> list[Json]:
    """Calls of upstreams by hour."""
    return [
        {
            "timestamp": instant(at).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "apiType": what,
            "totalCalls": calls.calls,
            "errorCalls": calls.errors,
            "avgResponseTime": ms(calls.mean_seconds),
        }
        for at, what, calls in sorted(
            (at, what, calls) for what in UPSTREAMS for at, calls in found.hours[what].items()
        )
    ]


def performance_of(calls: Calls) -> Json:
    """Calls of an upstream in short."""
    return {
        "totalCalls": calls.calls,
        "errors": calls.errors,
        "avgResponseTime": ms(calls.mean_seconds),
        "errorRate": percent(calls.errors, calls.calls),
    }


def monitored_of(found: Readout, what: Upstream) -> Json:
    """How long an upstream takes."""
    calls = found.upstream(what)
    return {
        "responseTimes": [],
        "avgResponseTime": ms(calls.mean_seconds),
        "p95ResponseTime": ms(spread(found.calls[what]).p95),
        "errorRate": percent(calls.errors, calls.calls),
    }


def totals_of(totals: Totals) -> Json:
    """Requests, and what came of them."""
    return {
        "totalRequests": totals.requests,
        "filteredRequests": totals.requests - totals.blocked,
        "blockedRequests": totals.blocked,
        "cachedRequests": totals.cached,
    }


def by_kind(text: Calls, image: Calls, both: Calls, of: Callable[[Calls], int]) -> Json:
    """The same figure of texts, images and both."""
    return {"text": of(text), "image": of(image), "overall": of(both)}


def dates_of(first: int, last: int) -> Json:
    """First and last day."""
    return {"startDate": day_of(first), "endDate": day_of(last)}


def day_of(at: int) -> str:
    """A day, from its first instant."""
    return instant(at).date().isoformat()


def ms(seconds: float) -> int:
    """Whole milliseconds."""
    return round(seconds * 1000)


def percent(part: int, whole: int) -> int:
    """Whole per cent; 0 of nothing."""
    return round(part / whole * 100) if whole else 0
