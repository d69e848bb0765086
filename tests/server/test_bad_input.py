"""Bad input of any kind: a problem that says what is wrong and where, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.server.asking import MODERATIONS, assert_problem
from tests.server.conftest import SHARED, App, Start

pytestmark = SHARED

JSON = {"content-type": "application/json"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
TEXT = {"type": "text", "text": "x"}


async def counted(app: App) -> list[int]:
    """What the server has written: verdicts, keys, cached entries, model calls."""
    rows = [
        (await app.runtime.database.rows(f"SELECT count(*) FROM {table}"))[0][0]
        for table in ("moderation_verdicts", "auth_keys")
    ]
    calls = app.runtime.metrics.total("penstock_model_calls_total")
    return [*rows, (await app.runtime.cache.stats()).entries, int(calls)]


@pytest_asyncio.fixture(loop_scope="module")
async def watched(shared: App) -> AsyncIterator[App]:
    """A server that has written nothing when the test ends."""
    before = await counted(shared)
    yield shared
    assert await counted(shared) == before


BODIES: list[tuple[bytes, int, str | None, str]] = [
    (b"", 400, None, "not JSON"),
    (b"{", 400, None, "not JSON"),
    (b"input=hello", 400, None, "not JSON"),
    (b'{"input": "x",}', 400, None, "not JSON"),
    (b'{"input": NaN}', 400, None, "not JSON"),
    (b'{"input": "\xff\xfe"}', 400, None, "UTF-8"),
    ('{"input": "x"}'.encode("utf-16"), 400, None, "JSON"),
    (b'{"input": ' + b"[" * 100_000, 422, "/input/0", "array"),
    (b'{"input": "x", "y": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, None, "nested"),
    (b"null", 422, "", "object"),
    (b"[]", 422, "", "object"),
    (b'"x"', 422, "", "object"),
    (b"{}", 422, "", "`input`"),
    (b'{"input": null}', 422, "/input", "null"),
    (b'{"input": 5}', 422, "/input", "int"),
    (b'{"input": true}', 422, "/input", "bool"),
    (b'{"input": {"text": "x"}}', 422, "/input", "object"),
    (b'{"input": ""}', 422, "/input", "empty"),
    (b'{"input": " \\n\\t\\u2003"}', 422, "/input", "empty"),
    (b'{"input": []}', 422, "/input", "empty"),
    (b'{"input": ["x", ""]}', 422, "/input/1", "empty"),
    (b'{"input": ["x", 5]}', 422, "/input/1", "int"),
    (b'{"input": ["x", null]}', 422, "/input/1", "null"),
    (b'{"input": [[1, 2, 3]]}', 422, "/input/0", "array"),
    (b'{"input": "a\\u0000b"}', 422, "/input", "U+0000 at character 1"),
    (b'{"input": ["x", "\\u0000"]}', 422, "/input/1", "U+0000 at character 0"),
    (b'{"input": "ab\\ud83d"}', 422, "/input", "surrogate pair at character 2"),
    (b'{"input": "\\ude00ab"}', 422, "/input", "surrogate pair at character 0"),
    (b'{"input": ["x", "\\ud83dx"]}', 422, "/input/1", "surrogate pair at character 0"),
    (b'{"input": [{"type": "text", "text": "\\ud83d"}]}', 422, "/input/0/text", "surrogate"),
    (b'{"input": "x", "user": "\\ud83d"}', 422, "/user", "surrogate"),
    (b'{"input": "x", "user": 5}', 422, "/user", "int"),
    (b'{"input": "x", "model": 5}', 422, "/model", "int"),
    (json.dumps({"input": "x", "user": "u" * 300}).encode(), 422, "/user", "256"),
    (json.dumps({"input": [TEXT, "x"]}).encode(), 422, "/input/1", "a text in a list of parts"),
    (json.dumps({"input": ["x", TEXT]}).encode(), 422, "/input/1", "a part in a list of texts"),
    (b'{"input": [{"type": "audio"}]}', 422, "/input/0/type", "audio"),
    (b'{"input": [{"text": "x"}]}', 422, "/input/0", "`type`"),
    (b'{"input": [{"type": "text"}]}', 422, "/input/0", "`text`"),
    (b'{"input": [{"type": "text", "text": " "}]}', 422, "/input", "empty"),
    (b'{"input": [{"type": "image_url", "image_url": "x"}]}', 422, "/input/0/image_url", "object"),
    (
        b'{"input": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}',
        422,
        "/input/0/image_url/url",
        "neither",
    ),
    (json.dumps({"input": ["x"] * 100_000}).encode(), 413, None, "100000 texts"),
    (json.dumps({"input": [TEXT] * 33}).encode(), 413, None, "33 parts"),
    (json.dumps({"input": "x " * (1 << 20)}).encode(), 413, None, "1048576 bytes"),
]


@pytest.mark.parametrize(
    ("body", "status", "pointer", "told"), BODIES, ids=[repr(row[0][:44]) for row in BODIES]
)
async def test_a_bad_moderation_request(
    watched: App, body: bytes, status: int, pointer: str | None, told: str
):
    reply = await watched.client.post(MODERATIONS, content=body, headers=JSON)

    problem = assert_problem(reply, status)
    assert told in problem["detail"] + json.dumps(problem.get("errors", ""))
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer
    assert problem["error"]["message"] == problem["detail"]
    assert problem["error"]["type"] == "invalid_request_error"
    assert problem["error"]["param"] == (pointer.split("/")[1] if pointer else None)


@pytest.mark.parametrize("body", [row[0] for row in BODIES[:9]], ids=lambda body: repr(body[:44]))
@pytest.mark.parametrize("path", ["/api/moderate", "/v1/cache/warm", "/v1/keys", "/v1/cache/clear"])
async def test_what_is_no_json_is_refused_everywhere(watched: App, path: str, body: bytes):
    if path == "/v1/cache/clear" and not body:
        return  # no body is an order there

    reply = await watched.client.post(path, content=body, headers=JSON)

    assert reply.status_code in (400, 422)
    assert_problem(reply, reply.status_code)
    assert "error" not in reply.json()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "json"])
async def test_another_content_type_is_refused_by_name(watched: App, kind: str):
    headers = {"content-type": kind} if kind else {}

    reply = await watched.client.post(MODERATIONS, content=b'{"input": "x"}', headers=headers)

    assert "application/json" in assert_problem(reply, 415)["detail"]


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"]
)
async def test_json_is_known_in_any_spelling_of_its_type(shared: App, kind: str):
    reply = await shared.client.post(
        MODERATIONS, content=b'{"input": "Good morning."}', headers={"content-type": kind}
    )

    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "send an API key"),
        ({"Authorization": "Bearer psk_wrong"}, "unknown, revoked or expired"),
        ({"Authorization": "Bearer "}, "key"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "send an API key"),
        ({"X-API-Key": "psk_wrong"}, "unknown, revoked or expired"),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [MODERATIONS, "/api/moderate", "/v1/cache/clear", "/nowhere"])
async def test_without_a_right_key_nothing_happens(
    watched: App, path: str, headers: dict[str, str], told: str
):
    body = {"input": "x", "content": "x"}

    reply = await watched.connect(None).post(path, json=body, headers=headers)

    assert told in assert_problem(reply, 401)["detail"]
    assert reply.headers["www-authenticate"] == "Bearer"
    assert ("error" in reply.json()) is (path == MODERATIONS)


async def test_an_unknown_path_is_named(watched: App):
    problem = assert_problem(await watched.client.get("/v1/moderation"), 404)

    assert "/v1/moderation" in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", MODERATIONS, "POST"),
        ("DELETE", MODERATIONS, "POST"),
        ("PUT", "/api/moderate", "POST"),
        ("POST", "/api/cache/stats", "GET"),
        ("GET", "/api/cache/clear", "DELETE"),
    ],
)
async def test_a_wrong_method_is_told_the_right_one(
    watched: App, method: str, path: str, allowed: str
):
    reply = await watched.client.request(method, path)

    assert allowed in assert_problem(reply, 405)["detail"]
    assert reply.headers["allow"] == allowed


async def test_native_routes_refuse_unknown_fields(watched: App):
    for path, body in (
        ("/v1/keys", {"name": "a", "role": "viewer", "color": "red"}),
        ("/v1/cache/warm", {"texts": ["x"], "ttl": 5}),
        ("/v1/cache/clear", {"patern": "a*"}),
        ("/api/performance/cache/clear", {"patern": "a*"}),
    ):
        problem = assert_problem(await watched.client.post(path, json=body), 422)

        assert problem["errors"][0]["pointer"] in ("/color", "/ttl", "/patern")


class Body:
    """A request body that counts what is taken of it."""

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.megabytes):
            self.taken += 1
            yield b"x" * (1 << 20)


async def test_a_body_that_announces_too_much_is_refused_unread(watched: App):
    body = Body(50)

    reply = await watched.client.post(
        "/api/moderate", content=body, headers={**JSON, "content-length": str(50 << 20)}
    )

    assert assert_problem(reply, 413)["limit"] == 1 << 20
    assert body.taken == 0


async def test_a_body_with_images_may_be_larger_but_not_much(watched: App):
    body = Body(50)

    reply = await watched.client.post(MODERATIONS, content=body, headers=JSON)

    assert_problem(reply, 413)
    assert body.taken <= 13


@pytest.mark.parametrize("path", ["/api/moderate", "/v1/cache/warm", "/v1/keys"])
async def test_a_body_that_announces_nothing_is_refused_when_it_is_too_much(
    watched: App, path: str
):
    body = Body(50)

    reply = await watched.client.post(path, content=body, headers=JSON)

    assert_problem(reply, 413)
    assert body.taken <= 3


async def test_a_text_of_almost_a_megabyte_is_judged(start: Start):
    text = "The weather was mild and the trains were on time. " * 20_000

    async with start() as app:
        reply = await app.client.post(MODERATIONS, json={"input": text})

    assert reply.status_code == 200, reply.text
    assert reply.json()["results"][0]["penstock"]["decision"] in ("approved", "review")


async def test_an_error_repeats_no_long_input(watched: App):
    body: dict[str, Any] = {"input": [{"type": "z" * 500_000}]}

    reply: httpx.Response = await watched.client.post(MODERATIONS, json=body)

    assert_problem(reply, 422)
    assert len(reply.content) < 5000
