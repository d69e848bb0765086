from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from penstock.clock import ManualClock
from penstock.db import open_database
from penstock.http.problems import Problems
from penstock.http.request_id import RequestId
from penstock.hub import LocalHub
from penstock.server.compat.filterx_stats import router as filterx_router
from penstock.server.routes.usage import router
from penstock.usage import HubCounters, Outcome, Usage
from penstock.web import errors
from penstock.web.principal import Principal, Role
from tests.usage.receipts import ASKED, CACHED


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_000.0)  # 2023-11-14, 22:13:20 UTC


@pytest.fixture
async def usage(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Usage]:
    """Three requests of two users on one day and two on the next, of moderation and FilterX."""
    database = open_database(folder=tmp_path)
    usage = Usage(database, clock=clock)
    count(usage, Outcome("rejected", ("hate", "violence"), "ann"), ASKED)
    count(usage, Outcome("approved", (), "ann"), CACHED)
    count(usage, Outcome("review", ("hate",), None), ASKED)
    filterx = usage.statistics.answered
    filterx("filterx", user="key_1", decision="rejected", flagged=["phone_number"], seconds=0.1)
    usage.statistics.called("text", 0.25, failed=False)
    usage.statistics.called("text", 0.75, failed=True)
    clock.advance(86_400)
    count(usage, Outcome("approved", (), "bob"), CACHED)
    filterx("filterx", user="key_1", decision="approved", cached=True, seconds=0.2)
    filterx("filterx", user="key_2", decision="approved", seconds=0.3)
    usage.statistics.called("image", 2.0, failed=False)
    usage.statistics.count("judged:filterx", "text.blocked", 3)
    usage.statistics.count("judged:filterx", "text.allowed", 1)
    yield usage
    await database.aclose()


def count(usage: Usage, outcome: Outcome, receipt: Any) -> None:
    usage.add(key_id="key_1", owner="team", service="moderation", receipt=receipt, outcome=outcome)


def connect(
    usage: Usage, clock: ManualClock, *, role: Role = "admin", key: str = "key_9"
) -> httpx.AsyncClient:
    api = FastAPI()
    errors.install(api)
    api.include_router(router(usage, clock))
    api.include_router(filterx_router(usage.statistics, clock))

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        scope["penstock"]["principal"] = Principal(key, "team", role)
        await Problems(api)(scope, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(RequestId(app)), base_url="http://test")


@pytest.fixture
def admin(usage: Usage, clock: ManualClock) -> httpx.AsyncClient:
    return connect(usage, clock)


async def asked(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    reply = await client.get(path, params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_statistics_are_totals_days_flags_users_and_upstreams(
    admin: httpx.AsyncClient,
) -> None:
    """X-33."""
    found = await asked(admin, "/v1/usage/statistics", **{"from": "2023-11-14"})

    assert found == {
        "service": "moderation",
        "first_day": "2023-11-14",
        "last_day": "2023-11-15",
        "total": {"requests": 4, "blocked": 1, "review": 1, "cached": 2},
        "days": [
            {"day": "2023-11-14", "requests": 3, "blocked": 1, "review": 1, "cached": 1},
            {"day": "2023-11-15", "requests": 1, "blocked": 0, "review": 0, "cached": 1},
        ],
        "flags": {"hate": 2, "violence": 1},
        "user_count": 3,
        "users": [
            {"user": "ann", "requests": 2, "blocked": 1},
            {"user": "bob", "requests": 1, "blocked": 0},
            {"user": "key_1", "requests": 1, "blocked": 0},
        ],
        "upstreams": [
            {
                "type": "text",
                "calls": 2,
                "errors": 1,
                "total_seconds": 1.0,
                "mean_seconds": 0.5,
                "p95_seconds": pytest.approx(0.75, rel=0.1),
            },
            {
                "type": "image",
                "calls": 1,
                "errors": 0,
                "total_seconds": 2.0,
                "mean_seconds": 2.0,
                "p95_seconds": pytest.approx(2.0, rel=0.1),
            },
        ],
    }


@pytest.mark.parametrize(
    ("params", "requests"),
    [
        ({}, 4),
        ({"to": "2023-11-14"}, 3),
        ({"from": "2023-11-15"}, 1),
        ({"service": "filterx"}, 3),
        ({"service": "nothing"}, 0),
    ],
)
async def test_statistics_are_of_the_days_and_the_service_asked_for(
    admin: httpx.AsyncClient, params: dict[str, str], requests: int
) -> None:
    found = await asked(admin, "/v1/usage/statistics", **params)

    assert found["total"]["requests"] == requests


async def test_who_asked_is_for_admins_and_oneself(usage: Usage, clock: ManualClock) -> None:
    found = await asked(connect(usage, clock, role="viewer", key="key_1"), "/v1/usage/statistics")
    other = await asked(connect(usage, clock, role="viewer", key="key_7"), "/v1/usage/statistics")

    assert found["total"]["requests"] == other["total"]["requests"] == 4
    assert found["users"] == [{"user": "key_1", "requests": 1, "blocked": 0}]
    assert (other["users"], other["user_count"]) == ([], None)


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"service": "a.b"}, "/service"),
        ({"top": "-1"}, "/top"),
        ({"from": "2023-11-16", "to": "2023-11-15"}, "/from"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    admin: httpx.AsyncClient, params: dict[str, str], pointer: str
) -> None:
    reply = await admin.get("/v1/usage/statistics", params=params)

    assert reply.status_code == 422
    assert [one["pointer"] for one in reply.json()["errors"]] == [pointer]


NOW = "2023-11-15T22:13:20.000Z"


async def test_filterx_tells_of_requests_upstreams_flags_and_users(
    admin: httpx.AsyncClient,
) -> None:
    found = await asked(admin, "/stats", timeRange="7d")

    version = found.pop("version")
    assert version
    assert found == {
        "success": True,
        "timeRange": "7d",
        "startDate": "2023-11-08",
        "endDate": "2023-11-15",
        "timestamp": NOW,
        "dataSource": "database",
        "stats": {
            "requests": {
                "totalRequests": 3,
                "filteredRequests": 2,
                "blockedRequests": 1,
                "cachedRequests": 1,
                "cacheHitRate": 33,
                "avgResponseTime": 200,
                "p95ResponseTime": pytest.approx(300, rel=0.1),
                "minResponseTime": pytest.approx(100, rel=0.1),
                "daysWithData": 2,
            },
            "api": {
                "text": {
                    "calls": 2,
                    "errors": 1,
                    "errorRate": 50,
                    "avgResponseTime": 500,
                    "maxResponseTime": pytest.approx(750, rel=0.1),
                    "hoursWithData": 1,
                },
                "image": {
                    "calls": 1,
                    "errors": 0,
                    "errorRate": 0,
                    "avgResponseTime": 2000,
                    "maxResponseTime": pytest.approx(2000, rel=0.1),
                    "hoursWithData": 1,
                },
            },
            "flags": {
                "flags": {"phone_number": {"count": 1, "daysActive": 1}},
                "totalFlags": 1,
                "uniqueFlags": 1,
            },
            "users": {
                "totalUsers": 2,
                "totalRequests": 3,
                "totalBlocked": 1,
                "blockRate": 33,
                "avgRequestsPerUser": 2,
                "maxRequestsPerUser": 2,
            },
        },
    }


@pytest.mark.parametrize(
    ("time_range", "requests", "start"),
    [
        (None, 3, "all-time"),
        ("today", 2, "2023-11-15"),
        ("yesterday", 1, "2023-11-14"),
        ("30d", 3, "2023-10-16"),
    ],
)
async def test_filterx_knows_its_ranges(
    admin: httpx.AsyncClient, time_range: str | None, requests: int, start: str
) -> None:
    found = await asked(admin, "/stats", **({"timeRange": time_range} if time_range else {}))

    assert found["stats"]["requests"]["totalRequests"] == requests
    assert found["startDate"] == start


async def test_filterx_has_a_summary(admin: httpx.AsyncClient) -> None:
    found = await asked(admin, "/stats/summary")

    assert (found["totalRequests"], found["todayRequests"], found["cacheHitRate"]) == (3, 2, 33)
    assert found["flags"] == {"phone_number": 1}
    assert found["latency"]["average"] == 200
    assert found["optimization"]["cache"] == {"hits": 1, "misses": 2, "hitRate": 33}
    assert found["optimization"]["ai"] == {
        "called": 2,
        "blocked": 3,
        "allowed": 1,
        "errors": 1,
        "blockRate": 75,
        "usagePercent": 67,
        "api": {"calls": 2, "errors": 1, "avgResponseTime": 500, "errorRate": 50},
    }
    assert set(found["optimization"]["image"]) == {
        *("called", "blocked", "allowed", "errors", "api")
    }


async def test_filterx_has_performance_of_the_last_day(admin: httpx.AsyncClient) -> None:
    found = await asked(admin, "/stats/performance")

    assert found["textApi"] == {
        "totalCalls": 2,
        "errors": 1,
        "avgResponseTime": 500,
        "errorRate": 50,
        "timeseriesData": [],
    }
    assert found["summary"] == {
        "avgResponseTime": {"text": 500, "image": 2000, "overall": 1000},
        "errorRate": {"text": 50, "image": 0, "overall": 33},
    }


async def test_filterx_has_rows_by_day_and_hour(admin: httpx.AsyncClient) -> None:
    daily = await asked(admin, "/stats/timeseries")
    hourly = await asked(admin, "/stats/timeseries", granularity="hourly")
    history = await asked(admin, "/stats/historical")
    combined = await asked(admin, "/stats/combined", timeRange="7d")

    assert [(row["date"], row["totalRequests"]) for row in daily["data"]] == [
        ("2023-11-14", 1),
        ("2023-11-15", 2),
    ]
    assert hourly["data"] == [
        {
            "timestamp": "2023-11-14T22:00:00.000Z",
            "apiType": "text",
            "totalCalls": 2,
            "errorCalls": 1,
            "avgResponseTime": 500,
        },
        {
            "timestamp": "2023-11-15T22:00:00.000Z",
            "apiType": "image",
            "totalCalls": 1,
            "errorCalls": 0,
            "avgResponseTime": 2000,
        },
    ]
    assert history["stats"]["contentFlags"] == [
        {"date": "2023-11-14", "flagName": "phone_number", "count": 1}
    ]
    assert history["stats"]["apiPerformance"][0]["avgResponseTimeMs"] == 500
    assert combined["historicalStats"] == history["stats"]
    assert combined["recentStats"]["totalRequests"] == 3


async def test_filterx_has_what_was_counted_written_once(
    admin: httpx.AsyncClient, usage: Usage
) -> None:
    waiting = usage.statistics.waiting
    written = await asked(admin, "/stats/aggregate")
    skipped = await asked(admin, "/stats/aggregate")
    forced = await asked(admin, "/stats/aggregate", force="true")
    found = await asked(admin, "/stats")

    parts = ("requestStats", "apiPerformance", "contentFlags", "userActivity")
    told = {
        "success": True,
        "message": "Stats aggregation completed successfully",
        "recordsProcessed": waiting,
        "duration": 0,
        "timestamp": NOW,
        "results": dict.fromkeys(parts, True),
        "computeUsage": "minimal",
    }
    assert waiting
    assert written == told
    assert forced == {**told, "recordsProcessed": 0}
    assert (skipped["success"], skipped["skipped"], skipped["recordsProcessed"]) == (True, True, 0)
    assert (skipped["computeUsage"], skipped["timestamp"]) == ("zero", NOW)
    assert found["stats"]["requests"]["totalRequests"] == 3


async def test_filterx_says_that_its_numbers_are_in_redis_where_they_are(
    tmp_path: Path, clock: ManualClock
) -> None:
    database, hub = open_database(folder=tmp_path), LocalHub(tmp_path)
    alone = Usage(database, clock=clock)
    shared = Usage(database, clock=clock, counters=HubCounters(hub))

    sources = [
        (await asked(connect(one, clock), "/stats"))["dataSource"] for one in (alone, shared)
    ]
    await database.aclose()
    hub.close()

    assert sources == ["database", "redis"]


async def test_filterx_tells_of_one_user(usage: Usage, clock: ManualClock) -> None:
    own = connect(usage, clock, role="viewer", key="key_1")

    found = await asked(own, "/stats/user/key_1")
    foreign = await own.get("/stats/user/key_2")

    assert found["stats"] == [
        {"userId": "key_1", "date": "2023-11-14", "requestCount": 1, "blockedCount": 1},
        {"userId": "key_1", "date": "2023-11-15", "requestCount": 1, "blockedCount": 0},
    ]
    assert foreign.status_code == 403


async def test_filterx_monitors_its_upstreams(admin: httpx.AsyncClient) -> None:
    found = await asked(admin, "/stats/ai-monitor")

    assert (found["timeRange"], found["limit"]) == ("24h", 100)
    assert found["data"]["imageApi"]["avgResponseTime"] == 2000


@pytest.mark.parametrize(
    ("path", "params", "pointer"),
    [
        ("/stats", {"timeRange": "1y"}, "/timeRange"),
        ("/stats/timeseries", {"startDate": "x"}, "/startDate"),
        ("/stats/timeseries", {"startDate": "2023-11-20"}, "/startDate"),
        ("/stats/timeseries", {"startDate": "2020-11-20"}, "/startDate"),
        ("/stats/timeseries", {"granularity": "yearly"}, "/granularity"),
        ("/stats/combined", {"timeRange": "today"}, "/timeRange"),
    ],
)
async def test_filterx_refuses_what_is_no_range(
    admin: httpx.AsyncClient, path: str, params: dict[str, str], pointer: str
) -> None:
    reply = await admin.get(path, params=params)

    assert reply.status_code == 422
    assert [one["pointer"] for one in reply.json()["errors"]] == [pointer]
