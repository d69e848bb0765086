"""When the provider fails: it is said, nothing is remembered, the policy's action is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rigs.upstream import (
    Turn,
    Upstream,
    cut,
    declining,
    failing,
    garbage,
    hang,
    throttled,
    wrong_schema,
)
from tests.server.asking import MODERATIONS, PIXEL, fist, moderate, source_of
from tests.server.conftest import Start

Policy = Callable[[str], Path]

KIND = "Thank you all for the lovely evening, the soup was delicious."
RUDE = "He was rather rude."  # the rig says: harassment 0.55

FAULTS: list[tuple[Turn, str]] = [
    (failing(500), "provider-unavailable"),
    (failing(503), "provider-unavailable"),
    (failing(401), "provider-refused"),
    (failing(400), "provider-refused"),
    (throttled(), "provider-throttled"),
    (garbage(), "provider-garbage"),
    (wrong_schema(), "provider-garbage"),
    (cut(), "provider-unavailable"),
]


@pytest.mark.parametrize(("fault", "code"), FAULTS, ids=lambda value: str(value)[:60])
async def test_a_fault_is_told_left_to_a_human_and_not_remembered(
    behind: Start, upstream: Upstream, fault: Turn, code: str
):
    """O-09: FIST turns an error into a rejection and keeps it for an hour."""
    tries = 2 if code == "provider-garbage" else 1  # what cannot be read is asked for once more
    upstream.script([fault] * tries)

    async with behind() as app:
        during = (await moderate(app.client, RUDE))["penstock"]
        after = await moderate(app.client, RUDE)
        later = await moderate(app.client, RUDE)

    assert (during["degraded"]["code"], during["decision"]) == (code, "review")
    assert during["degraded"]["detail"]
    assert during["reason"].startswith("provider failed")
    assert (during["receipt"]["source"], during["recorded"]) == ("local", True)
    assert after["penstock"]["degraded"] is None
    assert (source_of(after), source_of(later)) == ("provider", "memory")
    assert after["category_scores"]["harassment"] == 0.55
    assert upstream.calls == tries + 1


async def test_a_silent_provider_is_given_up_in_time(behind: Start, upstream: Upstream):
    upstream.script([hang()])

    async with behind(provider_timeout=0.3, provider_read_timeout=0.2) as app:
        during = (await moderate(app.client, KIND))["penstock"]
        after = (await moderate(app.client, KIND))["penstock"]

    assert during["degraded"]["code"] == "provider-timeout"
    assert during["decision"] == "review"
    assert after["degraded"] is None


async def test_an_address_where_nobody_listens_is_an_outage_too(behind: Start, upstream: Upstream):
    async with behind(provider=("http://127.0.0.1:9/v1?api=moderations",)) as app:
        block = (await moderate(app.client, KIND))["penstock"]

    assert block["degraded"]["code"] == "provider-unavailable"


async def test_a_chat_model_that_declines_gives_no_verdict(behind: Start, upstream: Upstream):
    upstream.always(declining())

    async with behind(provider=(upstream.url,)) as app:
        block = (await moderate(app.client, KIND))["penstock"]

    assert block["degraded"]["code"].startswith("provider")
    assert block["decision"] == "review"


@pytest.mark.parametrize(
    ("action", "decision", "letter"),
    [("open", "approved", "A"), ("closed", "rejected", "R"), ("review", "review", "M")],
)
async def test_the_policy_s_action_is_followed(
    behind: Start, policy: Policy, upstream: Upstream, action: str, decision: str, letter: str
):
    upstream.always(failing(500))

    async with behind(policy=policy(f'on_provider_failure = "{action}"')) as app:
        block = (await moderate(app.client, KIND))["penstock"]
        result = await fist(app.client, KIND)

    assert block["decision"] == decision
    assert block["degraded"]["code"] == "provider-unavailable"
    assert result["final_decision"] == letter


async def test_open_does_not_let_through_what_the_rules_found(
    behind: Start, policy: Policy, upstream: Upstream
):
    upstream.always(failing(500))

    async with behind(policy=policy('on_provider_failure = "open"')) as app:
        block = (await moderate(app.client, "I will kill you tomorrow morning."))["penstock"]

    assert block["decision"] == "rejected"


async def test_what_was_known_before_an_outage_is_answered_during_it(
    behind: Start, upstream: Upstream
):
    async with behind() as app:
        await moderate(app.client, RUDE)
        upstream.always(failing(500))
        block = (await moderate(app.client, RUDE))["penstock"]

    assert block["degraded"] is None
    assert block["receipt"]["source"] == "memory"


async def test_a_recovered_provider_s_verdict_is_another_record(behind: Start, upstream: Upstream):
    upstream.script([failing(500)])

    async with behind() as app:
        during = await fist(app.client, KIND)
        after = await fist(app.client, KIND)
        ids = (during["moderation_id"], after["moderation_id"])
        kept = [(await app.client.get(f"/api/results/{id}")).json()["result"] for id in ids]

    assert [record["final_decision"] for record in kept] == ["M", "A"]


async def test_the_same_text_at_once_is_one_call(behind: Start, upstream: Upstream):
    upstream.latency = (0.1, 0.1)

    async with behind() as app:
        results = await asyncio.gather(*(moderate(app.client, RUDE) for _ in range(10)))

    assert sorted(source_of(result) for result in results) == ["inflight"] * 9 + ["provider"]
    assert {result["category_scores"]["harassment"] for result in results} == {0.55}
    assert upstream.calls == 1


async def test_the_same_text_at_once_during_an_outage_is_one_call_and_all_hear_of_it(
    behind: Start, upstream: Upstream
):
    upstream.latency = (0.1, 0.1)
    upstream.always(failing(500))

    async with behind() as app:
        results = await asyncio.gather(*(moderate(app.client, RUDE) for _ in range(5)))

    codes = {result["penstock"]["degraded"]["code"] for result in results}
    assert codes == {"provider-unavailable"}
    assert upstream.calls == 1


async def test_one_failing_text_of_a_list_does_not_spoil_the_others(
    behind: Start, upstream: Upstream
):
    upstream.script([failing(500)])
    texts = [f"Parcel number {number} has arrived." for number in range(4)]

    async with behind() as app:
        reply = await app.client.post(MODERATIONS, json={"input": texts})

    failed = [result["penstock"]["degraded"] is not None for result in reply.json()["results"]]
    assert sorted(failed) == [False, False, False, True]


async def test_a_throttled_call_is_repeated_when_the_provider_said_so(
    behind: Start, upstream: Upstream
):
    """F-83"""
    upstream.script([throttled(0)])

    async with behind(provider_retries=1) as app:
        block = (await moderate(app.client, RUDE))["penstock"]

    assert block["degraded"] is None
    assert block["receipt"]["source"] == "provider"
    assert upstream.calls == 2


async def test_a_second_provider_takes_over(behind: Start, upstream: Upstream):
    with Upstream() as second:
        upstream.always(failing(500))
        urls = (f"{upstream.url}?api=moderations", f"{second.url}?api=moderations")
        async with behind(provider=urls) as app:
            result = await moderate(app.client, RUDE)

        assert result["category_scores"]["harassment"] == 0.55
        assert result["penstock"]["degraded"] is None
        assert second.calls == 1


async def test_an_outage_is_in_health_and_metrics_and_ends_there_too(
    behind: Start, upstream: Upstream
):
    upstream.always(failing(500))

    async with behind() as app:
        for number in range(20):
            await moderate(app.client, f"Parcel number {number} has arrived.")
        health = (await app.client.get("/health")).json()
        metrics = (await app.client.get("/api/metrics")).json()

    check = health["checks"]["provider"]
    assert (health["status"], check["status"]) == ("degraded", "degraded")
    assert "PENSTOCK_PROVIDER_KEY" in check["fix"]
    assert metrics["moderation"]["degraded"] == 20
    assert upstream.calls < 20  # the breaker opened


async def test_the_provider_s_price_is_on_the_receipt_and_saved_by_the_cache(
    behind: Start, upstream: Upstream
):
    changes: dict[str, Any] = {"provider": (upstream.url,), "provider_price_in": 2.0}

    async with behind(**changes) as app:
        first = (await moderate(app.client, RUDE))["penstock"]["receipt"]
        second = (await moderate(app.client, RUDE))["penstock"]["receipt"]

    spent = first["cost"]["spent_micros"]
    assert first["tokens"]["in"] > 0
    assert spent == pytest.approx(2 * first["tokens"]["in"], abs=1)
    assert second["cost"] == {"spent_micros": 0, "saved_micros": spent, "currency": "USD"}
    assert second["tokens"]["saved"] == first["tokens"]["in"] + first["tokens"]["out"]


async def test_a_long_text_without_spaces_is_sent_in_part_too(behind: Start, upstream: Upstream):
    async with behind(provider_excerpt_words=50) as app:
        await moderate(app.client, "今天天气很好我们去公园散步" * 400)

    sent = str(upstream.seen[0].body["input"])
    assert len(sent) < 1000


async def test_an_image_alone_is_no_question_for_a_provider_of_texts(
    behind: Start, upstream: Upstream
):
    image = {"type": "image_url", "image_url": {"url": PIXEL}}

    async with behind() as app:
        block = (await moderate(app.client, [image]))["penstock"]

    assert block["degraded"]["code"] == "images-unavailable"
    assert upstream.calls == 0
