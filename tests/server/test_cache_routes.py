"""The cache over HTTP: native paths, and those of Halilit and Pixel."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import numpy as np
import pytest
import pytest_asyncio

from tests.server.asking import assert_problem, fist, model_calls, moderate, source_of
from tests.server.conftest import SHARED, App, Start

pytestmark = SHARED

KIND = "Thank you all for the lovely evening, the soup was delicious."
KEYS = (
    "conversation:1",
    "conversation:1/message/2",
    "conversation:ä ö?&#%20",
    "user:123",
    "user:a:b:c",
)
ODD = ("a:b/c", "a:/leading", "a:trailing/", "a:x//y", "a:ä/ö", "a:100%", "a:?q=1#f", "plain")


@pytest.fixture
def app(emptied: App) -> App:
    return emptied


@pytest_asyncio.fixture(loop_scope="module")
async def filled(app: App) -> App:
    for number, key in enumerate(KEYS):
        await app.runtime.cache.set(key, {"number": number}, ttl=1800)
    return app


async def verdicts(app: App) -> int:
    rows = await app.runtime.database.rows("SELECT count(*) FROM moderation_verdicts")
    return int(rows[0][0])


async def listed(client: httpx.AsyncClient, pattern: str = "*") -> list[str]:
    reply = await client.get("/v1/cache/entries", params={"pattern": pattern})
    assert reply.status_code == 200, reply.text
    return [item["key"] for item in reply.json()["items"]]


def address(prefix: str, key: str) -> str:
    return prefix + quote(key, safe="/:")


async def test_native_stats_tell_of_each_tier(filled: App):
    stats = (await filled.client.get("/v1/cache")).json()

    assert stats["enabled"] is True
    assert stats["tiers"]["memory"]["entries"] == stats["tiers"]["disk"]["entries"] == len(KEYS)


async def test_a_preview_names_keys_sizes_and_ages_but_no_values(filled: App):
    reply = await filled.client.get("/v1/cache/entries", params={"pattern": "user:*"})

    assert reply.json()["pattern"] == "user:*"
    items = reply.json()["items"]
    assert [item["key"] for item in items] == ["user:123", "user:a:b:c"]
    assert all(item["size_bytes"] > 0 for item in items)
    assert all(0 < item["expires_in_seconds"] <= 1800 for item in items)
    assert "value" not in items[0]


@pytest.mark.parametrize(
    "pattern", ["conversation:*", "user:*", "user:[a1]*", "user:12?", "*:1*", "none:*", "*"]
)
async def test_clearing_removes_exactly_what_the_preview_named(filled: App, pattern: str):
    before = set(await listed(filled.client))
    named = set(await listed(filled.client, pattern))

    reply = await filled.client.post("/v1/cache/clear", json={"pattern": pattern})

    assert reply.json()["cleared_entries"] == len(named)
    assert reply.json()["pattern"] == pattern
    assert set(await listed(filled.client)) == before - named


async def test_a_preview_is_bounded(filled: App):
    reply = await filled.client.get("/v1/cache/entries", params={"limit": 2})

    assert len(reply.json()["items"]) == 2


async def test_clearing_by_tag_namespace_and_age(filled: App):
    await filled.runtime.cache.set("doc:1", 1, tags=("source:7",))

    by_tag = await filled.client.post("/v1/cache/clear", json={"tag": "source:7"})
    by_space = await filled.client.post("/v1/cache/clear", json={"namespace": "user"})
    by_age = await filled.client.post("/v1/cache/clear", json={"older_than_seconds": 3600})

    counts = [reply.json()["cleared_entries"] for reply in (by_tag, by_space, by_age)]
    assert counts == [1, 2, 0]
    assert await listed(filled.client) == sorted(k for k in KEYS if k.startswith("conversation"))


@pytest.mark.parametrize(
    "body",
    [
        {"tag": "a", "namespace": "b"},
        {"pattern": "a", "namespace": "b"},
        {"pattern": ""},
        {"older_than_seconds": -1},
        {"older_than": 5},
        [],
    ],
)
async def test_an_unclear_order_clears_nothing(filled: App, body: Any):
    assert_problem(await filled.client.post("/v1/cache/clear", json=body), 422)

    assert len(await listed(filled.client)) == len(KEYS)


async def test_an_order_without_a_body_clears_everything(filled: App):
    reply = await filled.client.post("/v1/cache/clear")

    assert reply.json()["cleared_entries"] == len(KEYS)
    assert await listed(filled.client) == []


@pytest.mark.parametrize("key", [*KEYS, *ODD])
async def test_an_entry_is_got_and_deleted_by_any_key(app: App, key: str):
    """P-40: keys with ":" and "/" work."""
    await app.runtime.cache.set(key, {"of": key})
    native = address("/v1/cache/entries/", key)

    got = (await app.client.get(native)).json()
    deleted = await app.client.delete(native)

    assert (got["key"], got["value"], got["value_hidden"]) == (key, {"of": key}, False)
    assert deleted.json()["cleared_entries"] == 1
    assert_problem(await app.client.get(native), 404)
    assert_problem(await app.client.delete(native), 404)


async def test_values_are_shown_to_admins_only(filled: App):
    """C-22"""
    operator = await filled.key("operator")

    shown = (await filled.client.get("/v1/cache/entries/user:123")).json()
    hidden = (await operator.get("/v1/cache/entries/user:123")).json()
    pixel = await operator.get("/api/performance/cache/key/user:123")

    assert (shown["value"], shown["value_hidden"]) == ({"number": 3}, False)
    assert (hidden["value"], hidden["value_hidden"]) == (None, True)
    assert_problem(pixel, 403)


class Point(msgspec.Struct):
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Point(1, 2), {"x": 1, "y": 2}),
        (np.arange(3, dtype="float32"), [0.0, 1.0, 2.0]),
        (b"\xff\x00", "/wA="),
        (float("nan"), None),
        ({1: "one"}, {"1": "one"}),
        (None, None),
        ("", ""),
    ],
)
@pytest.mark.parametrize("path", ["/v1/cache/entries/lib:1", "/api/performance/cache/key/lib:1"])
async def test_whatever_the_library_cached_can_be_looked_at(
    app: App, path: str, value: Any, told: Any
):
    await app.runtime.cache.set("lib:1", value)

    reply = await app.client.get(path)

    assert reply.status_code == 200, reply.text
    assert reply.json()["value"] == told


@pytest.mark.parametrize("prefix", ["/v1/cache/entries/", "/api/performance/cache/key/"])
async def test_what_moderation_cached_can_be_looked_at(app: App, prefix: str):
    await moderate(app.client, KIND)
    (key,) = await listed(app.client, "moderation:*")

    reply = await app.client.get(prefix + key)

    assert reply.status_code == 200
    assert KIND not in reply.text


async def test_a_warmed_text_is_a_hit_at_its_first_request(app: App):
    """F-73"""
    texts = [KIND, "Good morning, dear neighbours.", KIND]
    before = await verdicts(app)

    warmed = (await app.client.post("/v1/cache/warm", json={"texts": texts})).json()
    again = (await app.client.post("/v1/cache/warm", json={"texts": texts})).json()
    recorded = await verdicts(app)
    first = await moderate(app.client, KIND)

    assert warmed == {"computed": 2, "known": 0, "failed": 0}
    assert again == {"computed": 0, "known": 2, "failed": 0}
    assert source_of(first) == "memory"
    assert recorded == before  # nobody was answered yet


@pytest.mark.parametrize(
    "texts", [[], [""], ["x", " "], ["a\x00"], "x", [5], ["x"] * 1001], ids=str
)
async def test_what_cannot_be_judged_is_not_warmed(app: App, texts: Any):
    before = await model_calls(app.client)

    assert_problem(await app.client.post("/v1/cache/warm", json={"texts": texts}), 422)

    assert await model_calls(app.client) == before


async def test_halilit_s_stats_and_clear(start: Start):
    """H-33, H-34"""
    async with start() as app:
        await fist(app.client, KIND)
        await fist(app.client, KIND)

        stats = (await app.client.get("/api/v2/cache/stats")).json()
        cleared = (await app.client.post("/api/v2/cache/clear")).json()
        after = await fist(app.client, KIND)

    assert (stats["total_entries"], stats["hits"], stats["misses"]) == (1, 1, 1)
    assert stats["total_size_bytes"] > 0
    assert cleared["deleted_count"] == 1
    assert after["from_cache"] is False


async def test_halilit_clears_older_entries_only(app: App):
    await fist(app.client, KIND)

    kept = await app.client.post("/api/v2/cache/clear", params={"max_age_seconds": 3600})
    wrong = await app.client.post("/api/v2/cache/clear", params={"max_age_seconds": -1})

    assert kept.json()["deleted_count"] == 0
    assert_problem(wrong, 422)
    assert (await fist(app.client, KIND))["from_cache"] is True


async def test_pixel_s_answers_are_in_its_envelope(filled: App):
    """P-38, P-40, P-41"""
    replies = {
        "cache_stats": await filled.client.get("/api/performance/cache/stats"),
        "value": await filled.client.get("/api/performance/cache/key/user:123"),
        "deleted": await filled.client.delete("/api/performance/cache/key/user:123"),
    }

    for name, reply in replies.items():
        body = reply.json()
        assert body["status"] == "success"
        assert name in body
        assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    assert replies["value"].json()["value"] == {"number": 3}


async def test_pixel_clears_by_pattern(filled: App):
    """P-39, P-04"""
    body = {"pattern": "conversation:*"}

    cleared = (await filled.client.post("/api/performance/cache/clear", json=body)).json()

    assert (cleared["status"], cleared["cleared_entries"]) == ("success", 3)
    assert await listed(filled.client) == ["user:123", "user:a:b:c"]


async def test_pixel_s_missing_key_is_not_found(app: App):
    for method in ("GET", "DELETE"):
        assert_problem(await app.client.request(method, "/api/performance/cache/key/no:such"), 404)


async def test_two_prefixes_on_one_folder_do_not_see_each_other(filled: App, start: Start):
    """P-08"""
    home = filled.runtime.settings.home
    async with start(home=home, cache_prefix="pixel_ai") as other:
        seen = await listed(other.client)
        await other.client.post("/v1/cache/clear", json={"pattern": "*"})

    assert seen == []
    assert len(await listed(filled.client)) == len(KEYS)


async def test_no_cache_file_is_a_pickle(filled: App):
    """H-07"""
    home = filled.runtime.settings.home
    await filled.client.get("/v1/cache")

    data = b"".join(Path(path).read_bytes() for path in home.glob("cache.db*"))

    assert data.startswith(b"SQLite format 3\x00")
    assert b"\x80\x04\x95" not in data
