"""FilterX's statistics on its own paths, in its shapes: what `usage/statistics` counted of it.

FilterX shows all of this to everyone; here it needs a key, and what a user asked is for admins and
the key itself. There a cron job has to carry numbers from Redis to the database (`aggregate`); here
they are added up as requests are answered, and that path writes what waits for its 50 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query

import penstock
from penstock.clock import Clock
from penstock.errors import Forbidden, InvalidInput, StorageUnavailable
from penstock.server.compat.filterx import JUDGED, SERVICE
from penstock.server.compat.filterx_figures import (
    Json,
    api_of,
    by_kind,
    dates_of,
    day_of,
    days_of,
    flags_of,
    history_of,
    hours_of,
    monitored_of,
    ms,
    percent,
    performance_of,
    requests_of,
    totals_of,
)
from penstock.usage import readout
from penstock.usage.counters import DAY
from penstock.usage.readout import UPSTREAMS, Readout, Totals
from penstock.usage.statistics import Statistics, Upstream
from penstock.web.errors import responses
from penstock.web.instants import instant
from penstock.web.roles import Viewer

MOST_DAYS: Final = 400  # that "all" looks back, and that a range may have
MOST_USERS: Final = 1_000  # whose requests are looked at for the largest number

Range = Literal["today", "yesterday", "7d", "30d"]
Recent = Literal["1h", "24h", "7d", "30d"]
_BACK: Final[Mapping[str, tuple[int, int]]] = {  # days before today: first, last
    "today": (0, 0),
    "yesterday": (1, 1),
    "1h": (0, 0),
    "24h": (1, 0),
    "7d": (7, 0),
    "30d": (30, 0),
}
AGGREGATED: Final = ("requestStats", "apiPerformance", "contentFlags", "userActivity")
TimeRange = Annotated[Range | None, Query(alias="timeRange", description="None: all.")]
Since = Annotated[Recent, Query(alias="timeRange")]
Start = Annotated[date | None, Query(alias="startDate", description="The first day, UTC.")]
End = Annotated[date | None, Query(alias="endDate", description="The last day. Default: today.")]


def router(statistics: Statistics, clock: Clock) -> APIRouter:
    """The routes below /stats."""
    routes = APIRouter(prefix="/stats", tags=["filterx"], responses=responses(StorageUnavailable))
    stats = FilterXStats(statistics, clock)

    @routes.get("")
    async def get_stats(_: Viewer, time_range: TimeRange = None) -> Json:
        """FilterX: requests, upstreams, flags and users of a time."""
        return await stats.overview(time_range)

    @routes.get("/summary")
    async def get_summary(_: Viewer) -> Json:
        """FilterX: everything since the beginning in one document."""
        return await stats.summary()

    @routes.get("/performance")
    async def get_performance(_: Viewer) -> Json:
        """FilterX: calls of upstreams in the last day."""
        return await stats.performance()

    @routes.get("/ai-monitor")
    async def get_ai_monitor(
        _: Viewer, time_range: Since = "24h", limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> Json:
        """FilterX: how long upstreams take."""
        return await stats.monitor(time_range, limit)

    @routes.get("/historical")
    async def get_historical(_: Viewer, start: Start = None, end: End = None) -> Json:
        """FilterX: days, flags by day, upstreams by hour."""
        first, last = stats.span(start, end, days=7)
        found = await stats.read(first, last)
        return {**dates_of(first, last), **stats.stamp(), "stats": history_of(found)}

    @routes.get("/combined")
    async def get_combined(_: Viewer, time_range: Since = "24h") -> Json:
        """FilterX: the summary and the days of a time."""
        return await stats.combined(time_range)

    @routes.get("/timeseries")
    async def get_timeseries(
        _: Viewer,
        start: Start = None,
        end: End = None,
        granularity: Literal["daily", "hourly"] = "daily",
    ) -> Json:
        """FilterX: requests by day, or upstreams by hour."""
        first, last = stats.span(start, end, days=7)
        found = await stats.read(first, last)
        told = {
            "success": True,
            **dates_of(first, last),
            **stats.stamp(),
            "granularity": granularity,
        }
        return {**told, "data": days_of(found) if granularity == "daily" else hours_of(found)}

    @routes.get("/aggregate")
    async def get_aggregate(_: Viewer, force: bool = False) -> Json:
        """FilterX: have everything written that was counted so far."""
        return await stats.aggregate(force=force)

    @routes.get("/user/{user_id}", responses=responses(Forbidden))
    async def get_user(
        user_id: Annotated[str, Path(min_length=1, max_length=128)],
        who: Viewer,
        start: Start = None,
        end: End = None,
    ) -> Json:
        """FilterX: what one user, which is a key here, asked by day."""
        if user_id != who.key_id and not who.may("admin"):
            raise Forbidden(f"this key may see what {who.key_id} asked; all others are for admins")
        return await stats.user(user_id, *stats.span(start, end, days=30))

    return routes


class FilterXStats:
    """Reads what was counted and says it in FilterX's words. Days are first instants, in ms."""

    def __init__(self, statistics: Statistics, clock: Clock) -> None:
        self._statistics = statistics
        self._clock = clock

    async def read(self, first: int, last: int) -> Readout:
        """What was counted on these days."""
        return await readout.read(self._statistics, SERVICE, first, last)

    async def overview(self, time_range: Range | None) -> Json:
        first, last = self._range(time_range)
        found = await self.read(first, last)
        dates = (
            dates_of(first, last)
            if time_range
            else dict.fromkeys(("startDate", "endDate"), "all-time")
        )
        return {
            "success": True,
            "timeRange": time_range or "all",
            **dates,
            **self.stamp(),
            "dataSource": self._statistics.kept_in,
            "stats": {
                "requests": requests_of(found),
                "api": {what: api_of(found, what) for what in UPSTREAMS},
                "flags": flags_of(found),
                "users": await self._users(first, last),
            },
            "version": penstock.__version__,
        }

    async def summary(self) -> Json:
        first, last = self._range(None)
        found = await self.read(first, last)
        requests, times = found.total, found.durations
        today = found.days.get(last, Totals()).requests
        hits = percent(requests.cached, requests.requests)
        return {
            **totals_of(requests),
            "todayRequests": today,
            "cacheHitRate": hits,
            "latency": {
                "average": ms(times.mean),
                "p50": ms(times.p50),
                "p95": ms(times.p95),
                "p99": ms(times.p99),
            },
            "flags": found.flag_totals,
            "optimization": {
                "cache": {
                    "hits": requests.cached,
                    "misses": requests.requests - requests.cached,
                    "hitRate": hits,
                },
                "ai": await self._judged(found, "text", first, last),
                "image": await self._judged(found, "image", first, last),
                "performance": {
                    "avgResponseTime": ms(times.mean),
                    "p95ResponseTime": ms(times.p95),
                },
            },
        }

    async def performance(self) -> Json:
        first, last = self._range("24h")
        found = await self.read(first, last)
        since = int((self._clock.now() - 86_400) * 1000) // readout.HOUR * readout.HOUR
        text, image = (found.upstream(what, since=since) for what in UPSTREAMS)
        both = text + image
        return {
            "timeRange": "24h",
            **self.stamp(),
            "textApi": {**performance_of(text), "timeseriesData": []},
            "imageApi": {**performance_of(image), "timeseriesData": []},
            "summary": {
                "avgResponseTime": by_kind(text, image, both, lambda of: ms(of.mean_seconds)),
                "errorRate": by_kind(text, image, both, lambda of: percent(of.errors, of.calls)),
            },
        }

    async def monitor(self, time_range: Recent, limit: int) -> Json:
        found = await self.read(*self._range(time_range))
        asked = {"timeRange": time_range, "limit": limit}
        upstreams = {f"{what}Api": monitored_of(found, what) for what in UPSTREAMS}
        return {**asked, "data": {**asked, **self.stamp(), **upstreams}}

    async def combined(self, time_range: Recent) -> Json:
        recent = await self.summary()
        if time_range == "1h":
            return recent
        found = await self.read(*self._range(time_range))
        return {
            "timeRange": time_range,
            **self.stamp(),
            "recentStats": recent,
            "historicalStats": history_of(found),
        }

    async def aggregate(self, *, force: bool) -> Json:
        """Write what this process has counted; without `force` only if there is anything."""
        began, waiting = self._clock.monotonic(), self._statistics.waiting
        if waiting or force:
            await self._statistics.flush()
        spent = {"duration": ms(self._clock.monotonic() - began), **self.stamp()}
        told: Json = {"success": True, "recordsProcessed": waiting, **spent}
        if waiting or force:
            message = "Stats aggregation completed successfully"
            results = dict.fromkeys(AGGREGATED, True)
            return {**told, "message": message, "results": results, "computeUsage": "minimal"}
        return {
            **told,
            "skipped": True,
            "reason": "Nothing waits: numbers are added up as requests are answered",
            "message": "No data to aggregate",
            "computeUsage": "zero",
        }

    async def user(self, user: str, first: int, last: int) -> Json:
        days = await readout.read_user_days(self._statistics, SERVICE, first, last, names=[user])
        rows = [
            {
                "userId": user,
                "date": day_of(day),
                "requestCount": totals.requests,
                "blockedCount": totals.blocked,
            }
            for day, totals in sorted(days.get(user, {}).items())
        ]
        return {"userId": user, **dates_of(first, last), **self.stamp(), "stats": rows}

    def span(self, start: date | None, end: date | None, *, days: int) -> tuple[int, int]:
        """The days asked for; by default so many before the last. Raises InvalidInput."""
        end = end or instant(self._today()).date()
        start = start or end - timedelta(days=days)
        if not 0 <= (end - start).days < MOST_DAYS:
            detail = f"{start} to {end} are no range of at most {MOST_DAYS} days"
            raise InvalidInput(detail, errors=[{"pointer": "/startDate", "detail": detail}])
        first, last = ((day - date(1970, 1, 1)).days * DAY for day in (start, end))
        return first, last

    def stamp(self) -> Json:
        """When this was said."""
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        return {"timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z")}

    async def _users(self, first: int, last: int) -> Json:
        found = await readout.read_users(self._statistics, SERVICE, first, last, limit=MOST_USERS)
        total = (await self.read(first, last)).total
        return {
            "totalUsers": found.number,
            "totalRequests": total.requests,
            "totalBlocked": total.blocked,
            "blockRate": percent(total.blocked, total.requests),
            "avgRequestsPerUser": round(total.requests / found.number) if found.number else 0,
            "maxRequestsPerUser": found.top[0].requests if found.top else 0,
        }

    async def _judged(self, found: Readout, what: Upstream, first: int, last: int) -> Json:
        """What providers had a say in."""
        rows = await self._statistics.rows([JUDGED], first, last)
        blocked, allowed = (
            sum(n for place, n in rows.items() if place.name == f"{what}.{outcome}")
            for outcome in ("blocked", "allowed")
        )
        calls = found.upstream(what)
        told: Json = {
            "called": calls.calls,
            "blocked": blocked,
            "allowed": allowed,
            "errors": calls.errors,
        }
        if what == "text":
            told["blockRate"] = percent(blocked, blocked + allowed)
            told["usagePercent"] = percent(calls.calls, found.total.requests)
        api = performance_of(calls)
        return {**told, "api": {"calls": api.pop("totalCalls"), **api}}

    def _range(self, time_range: str | None) -> tuple[int, int]:
        today = self._today()
        first, last = _BACK[time_range] if time_range else (MOST_DAYS - 1, 0)
        return today - first * DAY, today - last * DAY

    def _today(self) -> int:
        return int(self._clock.now() * 1000) // DAY * DAY
