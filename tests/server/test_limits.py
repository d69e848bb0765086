from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.rigs.servers import RedisServer
from penstock.clock import ManualClock, SystemClock
from penstock.db import Database, open_database
from penstock.errors import ConfigurationError
from penstock.http.asgi import Receive, Scope, Send
from penstock.http.problems import Problems
from penstock.http.request_id import RequestId
from penstock.hub import LocalHub
from penstock.hub.redis import RedisHub
from penstock.observe.metrics import Metrics
from penstock.server.auth import Auth
from penstock.server.keys import KeyRing
from penstock.server.limits import (
    START_WORK,
    read_limit,
    read_limits,
    route_of,
    starts_work,
    written,
)
from penstock.usage import Budget, Budgets, Usage
from penstock.web.principal import RouteLimit
from tests.usage.receipts import receipt

Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def hub() -> LocalHub:
    return LocalHub()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(folder=tmp_path)
    yield opened
    await opened.aclose()


@pytest.fixture
def usage(database: Database, clock: ManualClock) -> Usage:
    return Usage(database, clock=clock)


@pytest.fixture
async def ring(database: Database, hub: LocalHub, clock: ManualClock) -> AsyncIterator[KeyRing]:
    ring = KeyRing(database, hub, clock)
    yield ring
    await ring.aclose()


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


@pytest.fixture
def connect(
    ring: KeyRing, hub: LocalHub, clock: ManualClock, usage: Usage, metrics: Metrics
) -> Connect:
    budgets = Budgets(usage, clock=clock, metrics=metrics)

    def connected(key: str, *limits: str, **options: Any) -> httpx.AsyncClient:
        parts = {"hub": hub, "clock": clock, "budgets": budgets, "metrics": metrics, **options}
        auth = Auth(inner, keys=ring, routes=read_limits(limits), **parts)
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(RequestId(Problems(auth))),
            base_url="http://127.0.0.1:8000",
            headers={"authorization": f"Bearer {key}"},
        )

    return connected


@pytest.fixture
def key(ring: KeyRing) -> Callable[..., Awaitable[str]]:
    async def made(**options: Any) -> str:
        new = await ring.create("app", actor="test", role="operator", owner="team", **options)
        return new.token

    return made


Key = Callable[..., Awaitable[str]]


@pytest.mark.parametrize(
    ("route", "rate", "limit"),
    [
        ("POST /v1/moderations", "600/m", RouteLimit("POST /v1/moderations", 600, 60.0)),
        (" GET   /v1/x ", " 5/s ", RouteLimit("GET /v1/x", 5, 1.0)),
        ("/v1/batches", "10/h", RouteLimit("/v1/batches", 10, 3600.0)),
        ("/v1/jobs/*", "7/d", RouteLimit("/v1/jobs/*", 7, 86_400.0)),
        ("/v1/jobs", "0", RouteLimit("/v1/jobs", 0, 60.0)),
    ],
)
def test_limits_are_read_as_people_write_them(route: str, rate: str, limit: RouteLimit) -> None:
    assert read_limit(route, rate) == limit
    assert read_limit(limit.route, written(limit)).limit == limit.limit


@pytest.mark.parametrize(
    ("route", "rate"),
    [
        ("v1/x", "1/m"),
        ("post /v1/x", "1/m"),
        ('/v1/"x', "1/m"),
        ("/v1/x y", "1/m"),
        ("/v1/\nx", "1/m"),
        ("/v1/é", "1/m"),
        ("", "1/m"),
        ("/v1/x", "600"),
        ("/v1/x", "6/w"),
        ("/v1/x", "-1/m"),
        ("/v1/x", "1000001/m"),
        ("/v1/x", "much"),
    ],
)
def test_what_is_no_limit_is_refused_in_words(route: str, rate: str) -> None:
    with pytest.raises(ValueError, match=r"write|at most"):
        read_limit(route, rate)


def test_a_wrong_setting_names_its_variable() -> None:
    with pytest.raises(ConfigurationError, match="PENSTOCK_RATE_LIMITS: 'POST /v1/x' is no limit"):
        read_limits(["POST /v1/x"])


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", "/v1/jobs", "POST /v1/jobs"),
        ("GET", "/v1/jobs", "/v1/jobs"),
        ("HEAD", "/v1/models", "GET /v1/models"),
        ("GET", "/v1/jobs/job_1", "/v1/jobs/{job_id}"),
        ("GET", "/v1/jobs/job_1/events", None),
        ("GET", "/v1/lists/a/b/c", "/v1/lists/*"),
        ("GET", "/v1/jobsx", None),
        ("GET", "/x/v1/jobs", None),
        ("GET", "/v1.jobs", None),
    ],
)
def test_a_limit_holds_for_its_route_alone(method: str, path: str, found: str | None) -> None:
    words = ("POST /v1/jobs", "/v1/jobs", "GET /v1/models", "/v1/jobs/{job_id}", "/v1/lists/*")
    limits = read_limits(f"{word}=1/m" for word in words)

    limit = route_of(limits, method, path)

    assert (limit and limit.route) == found


async def test_routes_are_limited_apart_and_within_the_keys_own_limit(
    connect: Connect, key: Key
) -> None:
    client = connect(await key(rate_limit=5), "POST /v1/a=2/m", "/v1/b=3/h")

    codes = [(await client.post("/v1/a")).status_code for _ in range(3)]
    codes += [(await client.get("/v1/b")).status_code for _ in range(3)]
    codes += [(await client.get("/v1/c")).status_code]

    # What the route refused took nothing from the key.
    assert codes == [200, 200, 429, 200, 200, 200, 429]


async def test_every_limit_has_an_item_in_the_headers(connect: Connect, key: Key) -> None:
    client = connect(await key(rate_limit=5), "POST /v1/a=2/h")

    answer = await client.post("/v1/a")

    assert answer.headers["ratelimit-policy"] == '"POST /v1/a";q=2;w=3600, "default";q=5;w=60'
    assert answer.headers["ratelimit"] == '"POST /v1/a";r=1;t=1800, "default";r=4;t=12'


async def test_a_refusal_names_its_route_and_says_when_to_come_back(
    connect: Connect, key: Key, clock: ManualClock, metrics: Metrics
) -> None:
    client = connect(await key(), "POST /v1/a=1/h")
    await client.post("/v1/a")

    refused = await client.post("/v1/a")
    clock.advance(float(refused.headers["retry-after"]))
    later = await client.post("/v1/a")

    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "3600"
    assert refused.json()["detail"] == "the limit of 1 requests a hour to POST /v1/a is used up"
    assert refused.headers["ratelimit"] == '"POST /v1/a";r=0;t=3600'
    assert later.status_code == 200
    assert metrics.total("penstock_limited_total", reason="route") == 1


async def test_keys_have_buckets_of_their_own(connect: Connect, key: Key) -> None:
    clients = [connect(await key(), "/v1/a=1/m") for _ in range(3)]

    assert [(await client.get("/v1/a")).status_code for client in clients] == [200] * 3


@pytest.mark.parametrize(
    ("own", "codes"),
    [
        ({"/v1/a": "3/m"}, [200, 200, 200, 429]),
        ({"/v1/a": "0"}, [200] * 4),
        ({}, [200] + [429] * 3),
    ],
)
async def test_a_keys_own_limit_of_a_route_wins(
    connect: Connect, key: Key, own: dict[str, str], codes: list[int]
) -> None:
    client = connect(await key(route_limits=own), "/v1/a=1/m")

    assert [(await client.get("/v1/a")).status_code for _ in range(4)] == codes


async def test_a_changed_limit_holds_from_the_next_request_on(
    connect: Connect, ring: KeyRing
) -> None:
    new = await ring.create("app", actor="test", role="viewer", rate_limit=1)
    client = connect(new.token)
    before = [(await client.get("/v1/a")).status_code for _ in range(2)]

    await ring.change(new.record.id, {"rate_limit": 0}, actor="test")

    assert before == [200, 429]
    assert [(await client.get("/v1/a")).status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    ("method", "path", "starts"),
    [
        *(("POST", path, True) for path in START_WORK),
        ("POST", "/v1/moderations", False),
        ("POST", "/v1/cache/warm", False),
        ("POST", "/api/moderate", False),
        ("POST", "/v1/jobs/job_1/retry", True),
        ("POST", "/v1/jobs/retry", True),
        ("POST", "/v1/jobs/cancel", False),
        ("GET", "/v1/batches", False),
        ("POST", "/v1/batches/batch_1/cancel", False),
        ("DELETE", "/v1/batches/batch_1", False),
        ("POST", "/v1/keys", False),
        ("POST", "/v1/appeals", False),
    ],
)
def test_what_may_ask_a_provider_later_is_refused_before_it_starts(
    method: str, path: str, starts: bool
) -> None:
    assert starts_work(method, path) is starts


async def test_a_key_without_money_left_may_read_but_not_start_work(
    connect: Connect, ring: KeyRing, usage: Usage, metrics: Metrics
) -> None:
    budget = Budget(micros=10, period="month")
    new = await ring.create("app", actor="test", role="operator", budget=budget)
    client = connect(new.token)
    before = await client.post("/v1/batches")
    one = receipt(spent=10)
    usage.add(key_id=new.record.id, owner="team", service="moderation", receipt=one)

    refused = await client.post("/v1/batches")
    reading = await client.get("/v1/usage")

    assert [before.status_code, refused.status_code, reading.status_code] == [200, 429, 200]
    assert refused.json()["title"] == "Budget used up"
    assert refused.json()["type"].endswith("budget-exhausted")
    assert "10 of 10 millionths of USD" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) > 86_400
    assert metrics.total("penstock_limited_total", reason="budget") == 1


async def test_servers_share_the_limits_of_routes(
    redis: RedisServer, ring: KeyRing, key: Key, connect: Connect
) -> None:
    """E-33 with Redis: a small limit is exact over all servers."""
    token = await key()
    # A busy machine shall not look like a Redis that is away.
    hubs = [RedisHub(redis.url, rate_timeout=5.0) for _ in range(2)]
    try:
        for hub in hubs:
            await hub.start(wait=5.0)
        clients = [connect(token, "/v1/a=10/h", hub=hub, clock=SystemClock()) for hub in hubs]

        codes = [(await clients[n % 2].get("/v1/a")).status_code for n in range(20)]
    finally:
        for hub in hubs:
            await hub.aclose()

    assert codes.count(200) == 10
