"""The official OpenAI SDKs, unchanged, against a server in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conftest import ADMIN, Live
from tests.server.asking import PIXEL

pytestmark = pytest.mark.slow

KIND = "Thank you all for the lovely evening."
THREAT = "I will kill you tomorrow morning."
NODE = Path(__file__).parents[1] / "node"


@pytest.fixture(scope="module")
def base_url(shared_server: Live) -> str:
    return f"{shared_server.url}/v1"


@pytest.fixture
def sdk(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=ADMIN, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_sdk(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key=ADMIN, max_retries=0) as client:
        yield client


def test_a_text_is_moderated(sdk: openai.OpenAI):
    answer = sdk.moderations.create(input=KIND)

    result = answer.results[0]
    assert result.flagged is False
    assert result.category_scores.harassment_threatening < 0.5
    assert result.category_applied_input_types.violence == ["text"]


def test_a_list_is_moderated(sdk: openai.OpenAI):
    answer = sdk.moderations.create(model="omni-moderation-latest", input=[KIND, THREAT])

    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].categories.violence or answer.results[1].categories.harassment


def test_parts_are_moderated(sdk: openai.OpenAI):
    image: Any = {"type": "image_url", "image_url": {"url": PIXEL}}

    answer = sdk.moderations.create(input=[{"type": "text", "text": KIND}, image])

    assert len(answer.results) == 1


def test_the_penstock_block_is_reached_through_the_sdk(sdk: openai.OpenAI):
    extra = sdk.moderations.create(input=THREAT).results[0].model_extra or {}

    assert extra["penstock"]["decision"] == "rejected"


async def test_the_async_sdk_moderates_a_text_and_a_list(async_sdk: openai.AsyncOpenAI):
    one = await async_sdk.moderations.create(input=THREAT)
    many = await async_sdk.moderations.create(input=[THREAT, KIND])

    assert [result.flagged for result in one.results] == [True]
    assert [result.flagged for result in many.results] == [True, False]


def test_the_models_are_listed(sdk: openai.OpenAI):
    assert "penstock-moderation" in [model.id for model in sdk.models.list()]


def test_a_wrong_key_is_an_authentication_error(sdk: openai.OpenAI):
    with pytest.raises(openai.AuthenticationError) as caught:
        sdk.with_options(api_key="psk_wrong").moderations.create(input=KIND)

    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id


def test_an_empty_text_is_an_unprocessable_entity_error(sdk: openai.OpenAI):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        sdk.moderations.create(input="")

    assert caught.value.param == "input"
    assert "empty" in caught.value.message


def test_an_unknown_model_is_a_not_found_error(sdk: openai.OpenAI):
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gpt-9")


def test_a_key_without_the_role_is_a_permission_error(sdk: openai.OpenAI):
    viewer = sdk.post("/keys", body={"name": "sdk", "role": "viewer"}, cast_to=dict[str, Any])

    with pytest.raises(openai.PermissionDeniedError):
        sdk.with_options(api_key=viewer["token"]).moderations.create(input=KIND)


def test_a_used_up_limit_is_a_rate_limit_error(sdk: openai.OpenAI):
    body = {"name": "sdk", "role": "operator", "rate_limit": 1}
    limited = sdk.post("/keys", body=body, cast_to=dict[str, Any])
    client = sdk.with_options(api_key=limited["token"])

    client.moderations.create(input=KIND)
    with pytest.raises(openai.RateLimitError) as caught:
        client.moderations.create(input=KIND)

    assert int(caught.value.response.headers["retry-after"]) >= 1


def test_the_node_sdk_moderates_and_understands_the_errors(base_url: str):
    node = shutil.which("node")
    assert node, "this test needs node 20 on the PATH"
    assert (NODE / "node_modules" / "openai").is_dir(), (
        "run: make tests/node/node_modules/.installed"
    )

    run = subprocess.run(
        [node, "moderate.mjs", base_url, ADMIN],
        cwd=NODE,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert (seen["one"], seen["list"], seen["parts"]) == ([False], [False, True], ["review"])
    assert seen["again"] == "memory"
    assert "penstock-moderation" in seen["models"]
    assert seen["unauthorized"]["name"] == "AuthenticationError"
    assert seen["empty"] == {
        "name": "UnprocessableEntityError",
        "status": 422,
        "param": "input",
        "code": "invalid_input",
    }
    assert seen["missing"]["name"] == "NotFoundError"
