from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.clock import ManualClock
from penstock.db import open_database
from penstock.errors import InvalidInput
from penstock.http.asgi import Receive, Scope, Send
from penstock.http.problems import Problems
from penstock.http.request_id import RequestId
from penstock.hub import LocalHub
from penstock.observe.metrics import Metrics
from penstock.server.auth import ANONYMOUS, FAILURES, PUBLIC, Auth
from penstock.server.keys import KeyRing


class Inner:
    """What stands behind authentication: remembers who came, and answers from its 'cache'."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope["penstock"]["principal"])
        if scope["path"] == "/refused":
            raise InvalidInput("the text is empty")
        if scope["path"] == "/broken":
            raise RuntimeError("a bug")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"cached"})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def hub() -> LocalHub:
    return LocalHub()


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def ring(tmp_path: Path, hub: LocalHub, clock: ManualClock) -> AsyncIterator[KeyRing]:
    database = open_database(folder=tmp_path)
    yield KeyRing(database, hub, clock)
    await database.aclose()


async def _nothing(*_: Any) -> Any:
    return None


PIPES = (_nothing, _nothing)
Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def connect(
    inner: Inner, ring: KeyRing, hub: LocalHub, clock: ManualClock, metrics: Metrics
) -> Connect:
    def connected(
        key: str | None = None, *, address: str = "127.0.0.1", **options: Any
    ) -> httpx.AsyncClient:
        auth = Auth(inner, keys=ring, hub=hub, clock=clock, metrics=metrics, **options)
        transport = httpx.ASGITransport(RequestId(Problems(auth)), client=(address, 4000))
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000", headers=headers
        )

    return connected


@pytest.fixture
async def token(ring: KeyRing) -> str:
    return (await ring.create("app", actor="test", role="operator", owner="team")).token


async def test_a_key_brings_its_principal(connect: Connect, inner: Inner, token: str) -> None:
    answer = await connect(token).post("/v1/moderations")

    assert answer.status_code == 200
    assert inner.seen[0].owner == "team"
    assert "ratelimit" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "bearer {}"},
        {"authorization": "BEARER   {}  "},
        {"x-api-key": "{}"},
        {"authorization": "Basic dTpw", "x-api-key": "{}"},
    ],
)
async def test_a_key_may_come_in_several_ways(
    connect: Connect, token: str, headers: dict[str, str]
) -> None:
    sent = {name: value.format(token) for name, value in headers.items()}

    answer = await connect().get("/v1/models", headers=sent)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Basic dTpw"},
        {"authorization": "Bearer psk_" + "A" * 43},
        {"authorization": b"Bearer \xff\xfe"},
        {"x-api-key": ""},
    ],
)
async def test_without_a_right_key_nothing_runs(
    connect: Connect, inner: Inner, headers: dict[str, Any]
) -> None:
    answer = await connect().post("/v1/moderations", headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert inner.seen == []


async def test_a_revoked_key_is_refused_on_a_hot_entry(
    connect: Connect, ring: KeyRing, inner: Inner
) -> None:
    """O-05: an answer that is remembered needs a live key like one that is not."""
    new = await ring.create("app", actor="test", role="viewer")
    assert (await connect(new.token).get("/v1/hot")).text == "cached"

    await ring.revoke(new.record.id, actor="test")

    assert (await connect(new.token).get("/v1/hot")).status_code == 401
    assert len(inner.seen) == 1


async def test_an_expired_key_is_refused(
    connect: Connect, ring: KeyRing, clock: ManualClock
) -> None:
    new = await ring.create("app", actor="test", role="viewer", expires_in=5)
    clock.advance(5)

    assert (await connect(new.token).get("/v1/models")).status_code == 401


@pytest.mark.parametrize("path", [*sorted(PUBLIC - {"/docs/"}), "/docs/errors"])
async def test_public_paths_need_no_key_and_know_who_has_one(
    connect: Connect, inner: Inner, token: str, path: str
) -> None:
    for key in (None, "psk_wrong", token):
        assert (await connect(key).get(path)).status_code == 200

    assert [principal and principal.owner for principal in inner.seen] == [None, None, "team"]


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/keys", "/health/", "/health/details", "/api/health2", "/HEALTH", "/docsx"),
        *("/docs/../v1/keys", "/docs/%2e%2e/v1/keys", "/api/metrics", "/livez/x"),
        *("/api/results/mod_1", "/api/performance/cache/stats", "/openapi.json/x"),
    ],
)
async def test_every_other_path_needs_a_key(connect: Connect, inner: Inner, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "BREW"):
        assert (await connect().request(method, path)).status_code == 401

    assert inner.seen == []


async def test_a_preflight_request_needs_no_key(connect: Connect) -> None:
    assert (await connect().options("/v1/keys")).status_code == 200


async def test_a_limited_key_is_told_its_limit_on_every_answer(
    connect: Connect, ring: KeyRing
) -> None:
    new = await ring.create("app", actor="test", role="viewer", rate_limit=3)
    client = connect(new.token)

    answers = [await client.get(path) for path in ("/ok", "/refused", "/ok", "/ok")]

    assert [answer.status_code for answer in answers] == [200, 422, 200, 429]
    assert [answer.headers["ratelimit-policy"] for answer in answers] == ['"default";q=3;w=60'] * 4
    left = [answer.headers["ratelimit"].split(";")[1] for answer in answers]
    assert left == ["r=2", "r=1", "r=0", "r=0"]
    assert answers[3].json()["detail"] == "the limit of 3 requests a minute is used up"
    assert int(answers[3].headers["retry-after"]) >= 1


async def test_a_used_up_limit_stops_hits_too_until_time_passes(
    connect: Connect, ring: KeyRing, inner: Inner, clock: ManualClock
) -> None:
    new = await ring.create("app", actor="test", role="viewer", rate_limit=1)
    client = connect(new.token)

    codes = [(await client.get("/v1/hot")).status_code for _ in range(2)]
    clock.advance(60)
    codes.append((await client.get("/v1/hot")).status_code)

    assert codes == [200, 429, 200]
    assert len(inner.seen) == 2


@pytest.mark.parametrize(("own", "allowed"), [(None, 2), (0, 10), (5, 5)])
async def test_a_keys_own_limit_wins_over_the_default(
    connect: Connect, ring: KeyRing, own: int | None, allowed: int
) -> None:
    new = await ring.create("app", actor="test", role="viewer", rate_limit=own)
    client = connect(new.token, default_rate=2)

    codes = [(await client.get("/ok")).status_code for _ in range(10)]

    assert codes.count(200) == allowed


async def test_a_bug_behind_a_limited_key_is_a_plain_500(connect: Connect, ring: KeyRing) -> None:
    new = await ring.create("app", actor="test", role="viewer", rate_limit=3)

    answer = await connect(new.token).get("/broken")

    assert answer.status_code == 500
    assert "a bug" not in answer.text


async def test_an_address_that_tries_keys_is_slowed_and_right_keys_pass(
    connect: Connect, token: str, clock: ManualClock, metrics: Metrics
) -> None:
    guesser = connect("psk_guess")

    codes = [(await guesser.get("/v1/models")).status_code for _ in range(FAILURES + 2)]
    elsewhere = await connect("psk_guess", address="192.0.2.9").get("/v1/models")
    honest = await connect(token).get("/v1/models")
    clock.advance(60)
    later = await guesser.get("/v1/models")

    assert codes == [401] * FAILURES + [429] * 2
    assert [elsewhere.status_code, honest.status_code, later.status_code] == [401, 200, 401]
    assert metrics.total("penstock_auth_failures_total", reason="wrong_key") == FAILURES + 4


async def test_ipv6_neighbours_share_their_failures(connect: Connect) -> None:
    codes = []
    for number in range(FAILURES + 1):
        client = connect("psk_guess", address=f"2001:db8::{number:x}")
        codes.append((await client.get("/v1/models")).status_code)

    assert codes[-1] == 429


async def test_a_missing_key_is_no_guess(connect: Connect) -> None:
    codes = {(await connect().get("/v1/models")).status_code for _ in range(FAILURES + 5)}

    assert codes == {401}


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("127.0.0.1", {}),
        ("::1", {"host": "[::1]:8000"}),
        ("127.0.0.1", {"host": "localhost"}),
        ("127.0.0.1", {"host": "localhost:8000", "origin": "http://localhost:8000"}),
        ("127.0.0.1", {"authorization": "Bearer fist_of_a_snippet"}),
    ],
)
async def test_with_authentication_off_this_machine_is_admin(
    connect: Connect, inner: Inner, address: str, headers: dict[str, str]
) -> None:
    answer = await connect(address=address, mode="off").get("/v1/keys", headers=headers)

    assert answer.status_code == 200
    assert inner.seen == [ANONYMOUS]


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("192.0.2.1", {}),
        ("127.0.0.1", {"host": "rebound.example"}),
        ("127.0.0.1", {"host": "localhost.example"}),
        ("127.0.0.1", {"host": "127.0.0.1.example:8000"}),
        ("127.0.0.1", {"host": ""}),
        ("127.0.0.1", {"host": "[::1"}),
        ("127.0.0.1", {"origin": "https://page.example"}),
        ("127.0.0.1", {"origin": "null"}),
        ("127.0.0.1", {"forwarded": "for=192.0.2.1"}),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1"}),
        ("127.0.0.1", {"x-forwarded-host": "a.example"}),
        ("127.0.0.1", {"x-real-ip": "192.0.2.1"}),
    ],
)
async def test_with_authentication_off_others_still_need_a_key(
    connect: Connect, inner: Inner, token: str, address: str, headers: dict[str, str]
) -> None:
    refused = await connect(address=address, mode="off").get("/v1/keys", headers=headers)
    allowed = await connect(token, address=address, mode="off").get("/v1/keys", headers=headers)

    assert refused.status_code == 401
    assert "authentication is off for direct calls from this machine only" in refused.text
    assert allowed.status_code == 200
    assert len(inner.seen) == 1


async def test_a_database_that_is_gone_is_no_401(connect: Connect, ring: KeyRing) -> None:
    await ring._store._database.aclose()

    unknown = await connect("psk_x").get("/v1/models")
    health = await connect("psk_x").get("/health")
    keyless = await connect("psk_x", mode="off").get("/v1/models")

    assert [unknown.status_code, health.status_code, keyless.status_code] == [503, 200, 200]


async def test_start_and_stop_pass_through(ring: KeyRing) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await Auth(app, keys=ring, hub=LocalHub(), clock=ManualClock())({"type": "lifespan"}, *PIPES)

    assert seen == ["lifespan"]


async def test_a_web_socket_is_closed(connect: Connect, inner: Inner, ring: KeyRing) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    app = Auth(inner, keys=ring, hub=LocalHub(), clock=ManualClock())
    await app({"type": "websocket", "path": "/health"}, receive, send)

    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert inner.seen == []


@pytest.mark.parametrize(
    "headers",
    [
        {"CF-Connecting-IP": "203.0.113.9"},
        {"True-Client-IP": "203.0.113.9"},
        {"X-Envoy-External-Address": "203.0.113.9"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "localhost#.example.org"},
        {"Host": "example.org@127.0.0.1"},
    ],
)
async def test_without_authentication_nothing_that_may_come_from_elsewhere_is_served(
    connect: Connect, headers: dict[str, str]
) -> None:
    client = connect(mode="off")

    assert (await client.get("/v1/keys", headers=headers)).status_code == 401
