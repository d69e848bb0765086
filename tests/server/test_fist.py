"""FIST's own paths, as its clients call them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from benchmarks.rigs.upstream import Upstream, failing
from tests.server.asking import assert_problem, fist, moderate
from tests.server.conftest import SHARED, App, Start

KIND = "Thank you all for the lovely evening, the soup was delicious."
THREAT = "I will kill you tomorrow morning."
RUDE = "He was rather rude."  # the rig says: harassment 0.55
RUSSIAN = "Сегодня прекрасная погода, и мы с друзьями идём гулять в парк."


@SHARED
async def test_a_single_moderation_has_fist_s_form(emptied: App):
    reply = (await emptied.client.post("/api/moderate", json={"content": KIND})).json()

    result = reply["result"]
    assert reply["status"] == "completed"
    assert reply["moderation_id"] == result["moderation_id"]
    assert result["content_hash"] == hashlib.sha256(KIND.encode()).hexdigest()
    assert result["final_decision"] == "A"
    assert type(result["ai_result"]["inappropriate_probability"]) is int
    assert 0 <= result["ai_result"]["inappropriate_probability"] <= 20
    assert result["ai_result"]["reason"]
    assert result["word_count"] == 11
    assert result["percentage_used"] == 1.0


@SHARED
async def test_a_threat_is_rejected_beyond_80_percent(emptied: App):
    result = await fist(emptied.client, THREAT)

    assert result["final_decision"] == "R"
    assert result["ai_result"]["inappropriate_probability"] > 80


@SHARED
async def test_the_second_time_it_comes_from_the_cache(emptied: App):
    first = await fist(emptied.client, KIND)
    second = await fist(emptied.client, KIND)

    assert (first["from_cache"], second["from_cache"]) == (False, True)
    assert first["moderation_id"] == second["moderation_id"]


@SHARED
async def test_the_time_of_creation_is_now(emptied: App):
    before = emptied.runtime.clock.now()

    made = datetime.fromisoformat((await fist(emptied.client, KIND))["created_at"])

    assert made.tzinfo is not None
    assert before - 1 <= made.timestamp() <= datetime.now(UTC).timestamp() + 1  # noqa: TID251


async def test_the_limits_of_a_request_decide(behind: Start, upstream: Upstream):
    expected = {(0, 99): "M", (0, 1): "R", (99, 99): "A", (20, 80): "M", (55, 80): "A"}

    async with behind() as app:
        decided = {
            (low, high): await fist(
                app.client, RUDE, probability_thresholds={"low": low, "high": high}
            )
            for low, high in expected
        }

    probabilities = {r["ai_result"]["inappropriate_probability"] for r in decided.values()}
    assert probabilities == {55}
    assert {limits: r["final_decision"] for limits, r in decided.items()} == expected
    assert upstream.calls == 1


async def test_limits_are_taken_by_their_longer_names_too(behind: Start):
    strict = {"low_threshold": 10, "high_threshold": 30}

    async with behind() as app:
        result = await fist(app.client, RUDE, probability_thresholds=strict)

    assert result["final_decision"] == "R"


@SHARED
async def test_a_text_the_local_model_cannot_read_is_never_approved_by_wide_limits(emptied: App):
    result = await fist(emptied.client, RUSSIAN, probability_thresholds={"low": 99, "high": 100})

    assert result["final_decision"] == "M"


async def test_an_outage_is_never_approved_by_wide_limits(behind: Start, policy, upstream):
    upstream.always(failing(500))
    mild = policy("[thresholds.harassment]\nreview = 0.2\nreject = 1.0")

    async with behind(policy=mild) as app:
        result = await fist(
            app.client, "You are stupid.", probability_thresholds={"low": 99, "high": 100}
        )

    assert result["final_decision"] == "M"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"content": ""}, "/content"),
        ({"content": " \n\t"}, "/content"),
        ({"content": 5}, "/content"),
        ({"content": "x", "percentages": []}, "/percentages"),
        ({"content": "x", "percentages": [0]}, "/percentages/0"),
        ({"content": "x", "percentages": [1.5]}, "/percentages/0"),
        ({"content": "x", "percentages": [0.5]}, "/thresholds"),
        ({"content": "x", "thresholds": [500, 400, 3000]}, "/thresholds"),
        ({"content": "x", "thresholds": [0, 1, 2]}, "/thresholds/0"),
        ({"content": "x", "probability_thresholds": {"low": 90, "high": 10}}, None),
        ({"content": "x", "probability_thresholds": {"low": -1}}, None),
        ({"content": "x", "probability_thresholds": {"high": 101}}, None),
        ({"content": "x", "probability_thresholds": {"medium": 50}}, None),
    ],
)
@SHARED
async def test_a_wrong_request_is_told_what_is_wrong_where(
    shared: App, body: dict[str, Any], pointer: str | None
):
    problem = assert_problem(await shared.client.post("/api/moderate", json=body), 422)

    found = problem["errors"][0]["pointer"]
    assert found == pointer if pointer is not None else found.startswith("/probability_thresholds")


async def test_a_share_of_the_words_goes_to_the_paid_model_the_same_each_time(
    behind: Start, upstream
):
    """O-10: the excerpt follows from the text, so a verdict can be repeated."""
    text = " ".join(f"word{number}" for number in range(600))

    async with behind() as app:
        result = await fist(app.client, text)
        await app.client.delete("/api/cache/clear")
        again = await fist(app.client, text)

    sent, sent_again = (str(call.body["input"]) for call in upstream.seen)
    assert sent == sent_again
    assert 0.4 < len(sent.split()) / 600 < 0.75
    assert result["percentage_used"] == again["percentage_used"]
    assert result["moderation_id"] == again["moderation_id"]


async def test_what_the_paid_model_does_not_see_is_read_all_the_same(behind: Start, upstream):
    """O-10: the insult stands in a part that is not sent."""
    filler = "the weather was mild and the trains were on time that week "
    text = filler * 30 + "I will kill you tomorrow. " + filler * 30

    async with behind() as app:
        result = await fist(app.client, text, percentages=[0.01], thresholds=[])

    assert result["final_decision"] == "R"


@SHARED
async def test_a_result_is_found_by_its_id(emptied: App):
    made = await fist(emptied.client, KIND)

    reply = await emptied.client.get(f"/api/results/{made['moderation_id']}")

    found = reply.json()["result"]
    assert reply.json()["status"] == "completed"
    for name in ("moderation_id", "content_hash", "final_decision", "word_count"):
        assert found[name] == made[name]


@SHARED
async def test_a_result_of_openai_s_path_is_found_too(emptied: App):
    block = (await moderate(emptied.client, THREAT))["penstock"]

    found = (await emptied.client.get(f"/api/results/{block['id']}")).json()["result"]

    assert found["final_decision"] == "R"


@SHARED
async def test_a_result_is_seen_by_its_owner_and_by_admins_only(emptied: App):
    """O-14: FIST shows any result to anyone who knows its id."""
    owner = await emptied.key("operator", owner="team-a")
    made = await fist(owner, KIND)
    address = f"/api/results/{made['moderation_id']}"

    seen = {
        "owner": (await owner.get(address)).status_code,
        "colleague": (await (await emptied.key("viewer", owner="team-a")).get(address)).status_code,
        "admin": (await emptied.client.get(address)).status_code,
        "stranger": (
            await (await emptied.key("operator", owner="team-b")).get(address)
        ).status_code,
        "nobody": (await emptied.connect(None).get(address)).status_code,
    }

    assert seen == {"owner": 200, "colleague": 200, "admin": 200, "stranger": 404, "nobody": 401}


@pytest.mark.parametrize("name", ["mod_none", "%00", "%ff", "x" * 3000, "'; DROP TABLE x; --"])
@SHARED
async def test_an_unknown_result_is_not_found(shared: App, name: str):
    assert_problem(await shared.client.get(f"/api/results/{name}"), 404)


@SHARED
async def test_health_tells_holders_of_a_key_about_every_part(emptied: App):
    report = (await emptied.client.get("/api/health")).json()

    assert report["status"] == "healthy"
    parts = {"database", "cache.memory", "cache.disk", "disk_space", "model", "provider"}
    assert parts <= set(report["checks"])
    assert report["system"]["memory_total_bytes"] > 0
    assert 0.0 <= report["system"]["cpu_ratio"] <= 1.0


async def test_metrics_count_requests_errors_and_hits(app: App):
    await fist(app.client, KIND)
    await fist(app.client, KIND)
    await app.client.post("/api/moderate", json={})

    told = (await app.client.get("/api/metrics")).json()

    assert told["requests"]["total"] == 3
    assert told["requests"]["errors"] == 1
    assert told["requests"]["error_rate"] == pytest.approx(1 / 3)
    assert told["response_time_seconds"]["p99"] > 0
    assert told["moderation"] == {"verdicts": 2, "model_calls": 1, "degraded": 0}
    assert told["cache"]["hits"] == 1
    assert told["system"]["process_memory_bytes"] > 0


async def test_cache_stats_say_what_is_kept_and_how_often_it_was_found(app: App):
    await fist(app.client, KIND)
    await fist(app.client, KIND)

    stats = (await app.client.get("/api/cache/stats")).json()

    assert (stats["enabled"], stats["connected"], stats["keys"]) == (True, True, 1)
    assert (stats["hits"], stats["misses"], stats["hit_rate"]) == (1, 1, 0.5)
    assert set(stats["tiers"]) == {"memory", "disk"}


@SHARED
async def test_clearing_the_cache_needs_a_key(emptied: App):
    await fist(emptied.client, KIND)

    assert_problem(await emptied.connect(None).delete("/api/cache/clear"), 401)
    assert_problem(await (await emptied.key("viewer")).delete("/api/cache/clear"), 403)

    assert (await fist(emptied.client, KIND))["from_cache"] is True


@SHARED
async def test_after_clearing_a_former_hit_is_a_miss(emptied: App):
    await fist(emptied.client, KIND)

    cleared = await emptied.client.delete("/api/cache/clear")

    assert cleared.json()["status"] == "success"
    assert cleared.json()["cleared_entries"] == cleared.json()["deleted_count"] == 1
    assert (await fist(emptied.client, KIND))["from_cache"] is False
