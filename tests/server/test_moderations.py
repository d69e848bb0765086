"""POST /v1/moderations as its callers use it: OpenAI's shape, and the `penstock` block in it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from benchmarks.rigs.upstream import failing
from penstock.providers.provider import CATEGORIES
from tests.server.asking import (
    MODERATIONS,
    PIXEL,
    assert_problem,
    model_calls,
    moderate,
    source_of,
)
from tests.server.conftest import SHARED, App, Start

pytestmark = SHARED

KIND = "Thank you all for the lovely evening, the soup was delicious."
THREAT = "I will kill you tomorrow morning."


@pytest.fixture
def app(emptied: App) -> App:
    return emptied


async def test_an_answer_has_openai_s_shape(app: App):
    reply = (await app.client.post(MODERATIONS, json={"input": KIND})).json()

    result = reply["results"][0]
    assert re.fullmatch(r"modr-[0-9a-f]{32}", reply["id"])
    assert reply["model"] == "penstock-moderation"
    assert set(result["categories"]) == set(CATEGORIES) == set(result["category_scores"])
    assert all(type(flag) is bool for flag in result["categories"].values())
    assert all(0.0 <= score <= 1.0 for score in result["category_scores"].values())
    assert result["flagged"] is False


async def test_a_category_that_nobody_judged_applies_to_no_input(app: App):
    result = await moderate(app.client, KIND)

    applied = result["category_applied_input_types"]
    assert applied["harassment"] == ["text"]
    assert applied["illicit"] == []
    assert result["category_scores"]["illicit"] == 0.0


async def test_the_penstock_block_says_what_was_decided_and_on_what_grounds(app: App):
    result = await moderate(app.client, THREAT)

    block = result["penstock"]
    assert block["decision"] == "rejected"
    assert result["flagged"] is True
    assert block["reason"]
    assert block["policy"]["id"] == "default"
    assert block["policy"]["version"].startswith("default-")
    assert block["degraded"] is None
    assert block["recorded"] is True


async def test_a_span_marks_the_place_in_the_text(app: App):
    text = "😀 Say it again and I will kill you, friend."

    block = (await moderate(app.client, text))["penstock"]

    span = block["spans"][0]
    assert "kill you" in text[span["start"] : span["end"]]
    assert span["category"] in CATEGORIES
    assert span["stage"] == "prescreen"
    assert span["rule"]


async def test_the_receipt_says_who_answered(app: App):
    first = (await moderate(app.client, KIND))["penstock"]["receipt"]
    second = (await moderate(app.client, KIND))["penstock"]["receipt"]

    assert first["source"] == "local"
    assert first["age_seconds"] == 0.0
    assert set(first["models"]) == {"prescreen", "penstock-local"}
    assert {"prescreen", "local"} <= set(first["stages"])
    assert first["tokens"] == {"in": 0, "out": 0, "saved": 0}
    assert second["source"] == "memory"
    assert second["stale"] is False


async def test_a_list_gets_one_result_for_each_text_in_order(app: App):
    reply = await app.client.post(MODERATIONS, json={"input": [KIND, THREAT, KIND]})

    decisions = [result["penstock"]["decision"] for result in reply.json()["results"]]
    assert decisions == ["approved", "rejected", "approved"]


async def test_equal_texts_of_a_list_are_computed_once(app: App):
    before = await model_calls(app.client)

    await app.client.post(MODERATIONS, json={"input": [KIND] * 20})

    assert await model_calls(app.client) == before + 1


async def test_text_parts_are_one_input(app: App):
    parts = [{"type": "text", "text": "I will kill"}, {"type": "text", "text": "you tomorrow."}]

    whole = await moderate(app.client, "I will kill\nyou tomorrow.")
    result = await moderate(app.client, parts)

    assert result["category_scores"] == whole["category_scores"]
    assert source_of(result) == "memory"


async def test_an_image_that_no_model_can_see_is_left_to_a_human(app: App):
    parts = [{"type": "text", "text": KIND}, {"type": "image_url", "image_url": {"url": PIXEL}}]

    block = (await moderate(app.client, parts))["penstock"]

    assert block["decision"] == "review"
    assert block["degraded"]["code"] == "images-unavailable"


async def test_an_image_alone_is_no_silent_pass(app: App):
    result = await moderate(app.client, [{"type": "image_url", "image_url": {"url": PIXEL}}])

    assert result["penstock"]["decision"] == "review"


async def test_a_bad_text_beside_an_image_stays_rejected(app: App):
    parts = [{"type": "text", "text": THREAT}, {"type": "image_url", "image_url": {"url": PIXEL}}]

    assert (await moderate(app.client, parts))["penstock"]["decision"] == "rejected"


async def test_an_image_is_no_silent_pass_when_the_provider_is_down_and_the_policy_is_open(
    behind: Start, policy, upstream
):
    upstream.always(failing(500))
    parts = [{"type": "text", "text": KIND}, {"type": "image_url", "image_url": {"url": PIXEL}}]

    async with behind(policy=policy('on_provider_failure = "open"')) as app:
        block = (await moderate(app.client, parts))["penstock"]

    assert block["decision"] == "review"


async def test_what_the_text_is_written_in_is_told_and_a_foreign_one_is_reviewed(app: App):
    text = "Сегодня прекрасная погода, и мы с друзьями идём гулять в парк."

    block = (await moderate(app.client, text))["penstock"]

    assert block["language"] == "ru"
    assert block["decision"] == "review"
    assert "not English" in block["reason"]


@pytest.mark.parametrize("model", ["omni-moderation-latest", "text-moderation-007", None])
async def test_any_model_name_is_taken(app: App, model: str | None):
    assert (await moderate(app.client, KIND, model=model))["flagged"] is False


async def test_unknown_fields_are_ignored_as_openai_does(app: App):
    assert await moderate(app.client, KIND, service_tier="auto", metadata={"a": [1]})


async def test_the_same_text_has_another_id_for_another_owner(app: App):
    other = await app.key("operator", owner="other")

    own_id = (await moderate(app.client, KIND))["penstock"]["id"]
    other_id = (await moderate(other, KIND))["penstock"]["id"]

    assert own_id != other_id


async def test_the_models_are_listed_as_openai_does(app: App):
    listed = (await app.client.get("/v1/models")).json()
    one = (await app.client.get("/v1/models/omni-moderation-latest")).json()

    assert listed["object"] == "list"
    assert {"penstock-moderation", "omni-moderation-latest"} <= {m["id"] for m in listed["data"]}
    assert one["object"] == "model"
    assert one["versions"]["penstock-local"]


async def test_an_unknown_model_is_not_found(app: App):
    problem = assert_problem(await app.client.get("/v1/models/gpt-9"), 404)

    assert "penstock-moderation" in problem["detail"]
    assert problem["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", MODERATIONS, {"input": KIND}),
        ("POST", MODERATIONS, {"input": ""}),
        ("POST", "/api/moderate", {"content": KIND}),
        ("GET", "/v1/cache", None),
        ("GET", "/livez", None),
        ("GET", "/nowhere", None),
        ("PATCH", "/v1/keys", None),
    ],
)
async def test_every_response_has_its_id_and_its_times(
    app: App, method: str, path: str, body: dict[str, Any] | None
):
    reply = await app.client.request(method, path, json=body)

    assert reply.headers["x-request-id"]
    assert re.search(r"total;dur=[\d.]+$", reply.headers["server-timing"])


async def test_a_caller_s_request_id_comes_back(app: App):
    reply = await app.client.post(
        MODERATIONS, json={"input": ""}, headers={"x-request-id": "order-66.a"}
    )

    assert reply.headers["x-request-id"] == "order-66.a"
    assert reply.json()["request_id"] == "order-66.a"


async def test_server_timing_names_the_stages(app: App):
    reply = await app.client.post(MODERATIONS, json={"input": KIND})

    stages = {part.split(";")[0] for part in reply.headers["server-timing"].split(", ")}
    assert {"cache", "prescreen", "local", "total"} <= stages


async def test_an_error_has_its_id_and_its_times_too(app: App):
    reply = await app.connect(None).post(MODERATIONS, json={"input": KIND})

    assert_problem(reply, 401)
    assert reply.headers["www-authenticate"] == "Bearer"
    assert "total;dur=" in reply.headers["server-timing"]
