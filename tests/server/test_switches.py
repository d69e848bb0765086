"""Each part can be switched off, and what is said to be kept or not kept is so."""

from __future__ import annotations

import logging as stdlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from benchmarks.rigs.upstream import Upstream, failing
from penstock.observe import logging
from penstock.settings import Settings
from tests.server.asking import MODERATIONS, assert_problem, fist, model_calls, moderate, source_of
from tests.server.conftest import SHARED, App, Start

KIND = "Thank you all for the lovely evening, the soup was delicious."
CANARY = "zebrafinch-4711"
MARKED = f"The password of the {CANARY} is a lovely evening."


async def test_without_a_cache_every_call_reaches_the_model(behind: Start, upstream):
    """F-49"""
    async with behind(enable_cache=False) as app:
        results = [await moderate(app.client, KIND) for _ in range(3)]
        told = [await fist(app.client, KIND) for _ in range(2)]

    assert {source_of(result) for result in results} == {"provider"}
    assert not any(result["from_cache"] for result in told)
    assert upstream.calls == 5


async def test_a_cache_that_is_off_says_so(start: Start):
    async with start(enable_cache=False) as app:
        await moderate(app.client, KIND)
        stats = {
            path: (await app.client.get(path)).json()
            for path in ("/api/cache/stats", "/v1/cache", "/api/performance/cache/stats")
        }
        health = (await app.client.get("/health")).json()

    assert stats["/api/cache/stats"]["enabled"] is False
    assert stats["/api/cache/stats"]["keys"] == 0
    assert stats["/v1/cache"]["enabled"] is False
    assert stats["/api/performance/cache/stats"]["cache_stats"]["enabled"] is False
    assert health["status"] == "healthy"
    assert "turned off" in health["checks"]["cache.disk"]["detail"]


@pytest.mark.parametrize(
    "changes",
    [
        {"enable_cache": False},
        {"enable_metrics": False},
        {"compat": ()},
        {"cache": ()},
        {"cache": ("memory",)},
        {"cache": ("disk",)},
        {"enable_cache": False, "enable_metrics": False, "compat": ()},
    ],
    ids=str,
)
async def test_what_is_left_still_serves(start: Start, changes: dict[str, Any]):
    """F-86"""
    async with start(**changes) as app:
        results = [await moderate(app.client, KIND) for _ in range(2)]
        replies = [await app.client.get(path) for path in ("/health", "/v1/cache", "/v1/models")]
        refused = await app.client.post(MODERATIONS, json={"input": ""})

    assert [result["penstock"]["decision"] for result in results] == ["approved"] * 2
    assert [reply.status_code for reply in replies] == [200] * 3
    assert refused.headers["x-request-id"]
    assert_problem(refused, 422)


async def test_without_metrics_nothing_is_measured_and_the_page_says_so(start: Start):
    async with start(enable_metrics=False) as app:
        reply = await app.client.get("/livez")
        told = (await app.client.get("/api/metrics")).json()

    assert "server-timing" not in reply.headers
    assert told["enabled"] is False
    assert told["requests"]["total"] == 0


async def test_without_the_compat_paths_their_addresses_are_unknown(start: Start):
    async with start(compat=("pixel",)) as app:
        fist_reply = await app.client.post("/api/moderate", json={"content": KIND})
        halilit_reply = await app.client.get("/api/v2/cache/stats")
        pixel_reply = await app.client.get("/api/performance/cache/stats")

    assert_problem(fist_reply, 404)
    assert_problem(halilit_reply, 404)
    assert pixel_reply.status_code == 200


@pytest.fixture
def logs(settings: Settings) -> Iterator[Path]:
    """Everything that is logged goes into files, as it does in a server's process."""
    root = stdlib.getLogger()
    level = root.level
    logging.configure("debug", format="json", log_dir=settings.logs)
    yield settings.logs
    logging.shutdown()
    root.setLevel(level)


def found_in(folder: Path, text: str) -> list[str]:
    """The files that hold the text."""
    needle = text.encode()
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if needle in path.read_bytes())


async def exercise(app: App) -> None:
    """Everything that may be done to a text, and everything that may go wrong with it."""
    await moderate(app.client, MARKED, user="user-1")
    await moderate(app.client, MARKED)
    await fist(app.client, MARKED)
    await app.client.post(MODERATIONS, json={"input": [MARKED, f"I will kill you, {CANARY}."]})
    await app.client.post(MODERATIONS, json={"input": f"{CANARY}\x00"})
    await app.client.post(MODERATIONS, content=b'{"input": "' + MARKED.encode())
    await app.client.post(MODERATIONS, json={"input": {"wrong": MARKED}})
    await app.client.post("/v1/cache/warm", json={"texts": [f"{MARKED} Twice."]})


async def test_the_text_is_in_no_file(start: Start, logs: Path, tmp_path: Path):
    """F-87: database, cache and logs know the text's digest only."""
    async with start() as app:
        await exercise(app)
        open_files = found_in(tmp_path, CANARY)

    assert open_files == []
    assert found_in(tmp_path, CANARY) == []
    assert {"penstock.db", "cache.db", "penstock.log"} <= set(found_in(tmp_path, ""))
    assert found_in(logs, "moderations")


async def test_the_text_is_in_no_file_when_the_provider_fails(
    behind: Start, upstream: Upstream, logs: Path, tmp_path: Path
):
    upstream.always(failing(500, text=f"cannot judge: {MARKED}"))
    async with behind() as app:
        await exercise(app)

    assert found_in(tmp_path, CANARY) == []
    assert found_in(logs, "/v1/moderations")


async def test_a_setting_keeps_the_text_beside_its_verdict(start: Start, tmp_path):
    async with start(store_text=True) as app:
        block = (await moderate(app.client, MARKED))["penstock"]
        record = await app.runtime.moderation.find(block["id"], owner=None)

    assert record.content == MARKED
    assert all(name.startswith("penstock.db") for name in found_in(tmp_path, CANARY))


async def test_no_secret_is_in_any_file(start: Start, logs: Path, tmp_path: Path):
    async with start(provider_key=SecretStr(f"sk-{CANARY}")) as app:
        made = await app.client.post("/v1/keys", json={"name": "app", "role": "viewer"})
        token = made.json()["token"]
        await app.connect(token).get("/v1/keys/current")
        await app.connect(token + "x").get("/v1/keys/current")

    assert found_in(logs, "/v1/keys/current")
    assert found_in(tmp_path, token) == []
    assert found_in(tmp_path, CANARY) == []


async def test_cross_origin_calls_are_refused_unless_a_setting_names_the_origin(
    start: Start, app: App
):
    """H-50"""
    ask = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}

    async with start(cors_origins=("https://app.example",)) as open_app:
        silent = await app.client.options(MODERATIONS, headers=ask)
        allowed = await open_app.connect(None).options(MODERATIONS, headers=ask)
        other = await open_app.client.options(
            MODERATIONS, headers={**ask, "Origin": "https://evil.example"}
        )

    assert "access-control-allow-origin" not in silent.headers
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-origin" not in other.headers


async def test_a_page_may_read_answers_and_refusals_alike(start: Start):
    """Without the header on a 401 or 422 a browser shows its page a network error."""
    origin = {"Origin": "https://app.example"}

    async with start(cors_origins=("https://app.example",)) as app:
        replies = [
            await client.post(MODERATIONS, json={"input": text}, headers=origin)
            for client in (app.client, app.connect("wrong"), app.connect(None))
            for text in (KIND, "")
        ]

    assert [reply.status_code for reply in replies] == [200, 422, 401, 401, 401, 401]
    for reply in replies:
        assert reply.headers["access-control-allow-origin"] == "https://app.example"
        assert "X-Request-ID" in reply.headers["access-control-expose-headers"]


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/livez", "/readyz", "/health"])
@SHARED
async def test_public_pages_need_no_key(shared: App, path: str):
    reply: httpx.Response = await shared.connect(None).get(path)

    assert reply.status_code == 200


@SHARED
async def test_a_stranger_learns_one_word_of_health(shared: App):
    for path in ("/health", "/api/health", "/readyz"):
        report = (await shared.connect(None).get(path)).json()

        assert report["status"] == "healthy"
        assert not report.get("checks")
        assert not report.get("system")


@SHARED
async def test_the_limit_of_a_key_is_told_and_kept(shared: App):
    client = await shared.key("operator", rate_limit=2)

    replies = [await client.post(MODERATIONS, json={"input": KIND}) for _ in range(3)]

    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert all(reply.headers["ratelimit-policy"] == '"default";q=2;w=60' for reply in replies)
    assert [reply.headers["ratelimit"].split(";")[1] for reply in replies] == ["r=1", "r=0", "r=0"]
    problem = assert_problem(replies[2], 429)
    assert int(replies[2].headers["retry-after"]) >= 1
    assert problem["error"]["code"] == "rate_limit_exceeded"


async def test_the_default_limit_holds_for_keys_without_one(start: Start):
    async with start(rate_limit=2) as app:
        client, free = await app.key("viewer"), await app.key("viewer", rate_limit=0)
        limited = [(await client.get("/v1/models")).status_code for _ in range(3)]
        unlimited = [(await free.get("/v1/models")).status_code for _ in range(4)]

    assert limited == [200, 200, 429]
    assert unlimited == [200] * 4


@SHARED
async def test_a_hit_counts_against_the_limit_like_a_miss(shared: App):
    await moderate(shared.client, KIND)
    client = await shared.key("operator", rate_limit=1)

    first = await client.post(MODERATIONS, json={"input": KIND})
    second = await client.post(MODERATIONS, json={"input": KIND})

    assert (first.status_code, second.status_code) == (200, 429)


@SHARED
async def test_a_revoked_key_is_refused_on_a_hot_entry(shared: App):
    """O-05: FilterX answers from its cache before it asks for the key."""
    client = await shared.key("operator")
    await moderate(client, KIND)
    await moderate(client, KIND)
    me = (await client.get("/v1/keys/current")).json()["key_id"]

    await shared.client.delete(f"/v1/keys/{me}")

    assert_problem(await client.post(MODERATIONS, json={"input": KIND}), 401)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", MODERATIONS, {"input": KIND}),
        ("POST", "/api/moderate", {"content": KIND}),
        ("POST", "/v1/cache/clear", {}),
        ("POST", "/v1/keys", {"name": "own", "role": "admin"}),
        ("GET", "/v1/keys", None),
        ("DELETE", "/api/cache/clear", None),
        ("POST", "/v1/cache/warm", {"texts": [KIND]}),
    ],
)
@SHARED
async def test_a_viewer_doing_more_is_forbidden_and_told_why(
    shared: App, method: str, path: str, body: Any
):
    viewer, before = await shared.key("viewer"), await model_calls(shared.client)

    problem = assert_problem(await viewer.request(method, path, json=body), 403)

    assert "viewer" in problem["detail"]
    assert await model_calls(shared.client) == before


async def test_without_authentication_a_local_caller_may_do_everything(start: Start):
    async with start(auth="off") as app:
        client = app.connect(None)
        client.base_url = httpx.URL("http://127.0.0.1:8000")
        results = [
            await client.post(MODERATIONS, json={"input": KIND}),
            await client.delete("/api/cache/clear"),
            await client.get("/v1/keys"),
        ]

    assert [reply.status_code for reply in results] == [200] * 3


async def test_without_authentication_nobody_else_is_served(start: Start):
    foreign = [
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
        {"X-Real-IP": "203.0.113.9"},
        {"Host": "rebound.example"},
        {"Origin": "https://evil.example"},
    ]

    async with start(auth="off") as app:
        client = app.connect(None)
        client.base_url = httpx.URL("http://127.0.0.1:8000")
        replies = [
            await client.post(MODERATIONS, json={"input": KIND}, headers=headers)
            for headers in foreign
        ]

    for reply in replies:
        assert_problem(reply, 401)
