"""Providers that see: both dialects, who is asked, and what a blind one is never shown."""

from __future__ import annotations

import base64
import json

import pytest

from benchmarks.rigs.upstream import SEEN, Upstream, failing, reply, sending, throttled
from penstock.clock import SystemClock
from penstock.errors import ConfigurationError, ProviderGarbage, ProviderUnavailable
from penstock.observe.metrics import Metrics
from penstock.providers.factory import open_provider
from penstock.providers.local import LocalProvider
from penstock.providers.provider import Seer, seer
from penstock.providers.resilience import Resilient
from penstock.providers.terms import Prices
from penstock.providers.vision import sees_by_name
from tests.images.made import BLUE, GREY, RED, encoded, plain
from tests.providers.scripted import (
    Open,
    PlainImagePrompt,
    PlainPrompt,
    ScriptedProvider,
    SeeingProvider,
    SkippingClock,
)

JPEG = "image/jpeg"
APIS = pytest.mark.parametrize("api", ["chat", "moderations"])


def eyes(provider: object) -> Seer:
    found = seer(provider)
    assert found is not None
    return found


async def test_a_chat_model_is_shown_the_image_as_a_data_url(
    remote: Open, upstream: Upstream
) -> None:
    picture = encoded(plain(RED))

    scores = await eyes(remote("chat", sees=True)).look(picture, JPEG)

    (part,) = upstream.seen[0].body["messages"][0]["content"]
    assert part["image_url"]["url"] == f"data:{JPEG};base64,{base64.b64encode(picture).decode()}"
    assert scores.models == {"stub": "plain-image-1"}
    assert scores.scores["harassment"] == 0.01


async def test_the_moderation_endpoint_is_shown_the_image_as_a_part(
    remote: Open, upstream: Upstream
) -> None:
    scores = await eyes(remote("moderations", sees=True)).look(encoded(plain(RED)), JPEG)

    (part,) = upstream.seen[0].body["input"]
    assert part["type"] == "image_url"
    assert scores.scores["violence"] == 0.95
    assert scores.models == {"stub": "moderations"}


async def test_what_the_endpoint_does_not_judge_in_images_is_unknown_and_not_0(
    remote: Open,
) -> None:
    scores = await eyes(remote("moderations", sees=True)).look(encoded(plain(BLUE)), JPEG)

    assert set(scores.scores) == set(SEEN)


async def test_an_endpoint_that_does_not_say_what_it_applied_is_taken_at_its_word(
    remote: Open, upstream: Upstream
) -> None:
    upstream.script([sending(json.dumps({"results": [{"category_scores": {"hate": 0.3}}]}))])

    scores = await eyes(remote("moderations", sees=True)).look(encoded(plain(GREY)), JPEG)

    assert scores.scores == {"hate": 0.3}


async def test_an_endpoint_that_ignored_the_image_has_said_nothing(
    remote: Open, upstream: Upstream
) -> None:
    result = {"category_scores": {"hate": 0.0}, "category_applied_input_types": {"hate": ["text"]}}
    upstream.always(sending(json.dumps({"results": [result]})))

    with pytest.raises(ProviderGarbage, match="no score"):
        await eyes(remote("moderations", sees=True)).look(encoded(plain(GREY)), JPEG)


@APIS
async def test_an_image_costs_what_its_tokens_cost(api: str, remote: Open) -> None:
    provider = remote(api, sees=True, prices=Prices(input_micros=1_000_000))

    scores = await eyes(provider).look(encoded(plain(GREY)), JPEG)

    assert scores.tokens_in == scores.cost_micros == (85 if api == "chat" else 0)


@APIS
async def test_a_failure_over_an_image_is_an_error(
    api: str, remote: Open, upstream: Upstream
) -> None:
    upstream.script([failing(500)])

    with pytest.raises(ProviderUnavailable):
        await eyes(remote(api, sees=True)).look(encoded(plain(GREY)), JPEG)


async def test_an_unreadable_answer_about_an_image_is_asked_for_once_more(
    remote: Open, upstream: Upstream
) -> None:
    upstream.script([reply("it is a nice picture")])

    await eyes(remote("chat", sees=True)).look(encoded(plain(GREY)), JPEG)

    assert upstream.calls == 2


@APIS
def test_a_provider_of_a_blind_model_does_not_see(api: str, remote: Open) -> None:
    assert seer(remote(api)) is None


def test_the_local_model_does_not_see() -> None:
    assert seer(open_provider("local://", clock=SystemClock())) is None
    assert not hasattr(LocalProvider, "look")


async def test_images_are_shown_to_those_who_see_and_texts_to_the_first() -> None:
    blind, seeing = ScriptedProvider("blind"), SeeingProvider("seeing")
    provider = Resilient(blind, seeing, clock=SkippingClock())

    looked = await provider.look(b"picture", JPEG)
    read = await provider.moderate("text")

    assert (looked.provider, read.provider) == ("seeing", "blind")
    assert seeing.shown == [(b"picture", JPEG)]
    assert provider.sights == {"eye-of-seeing": "1"}


async def test_a_look_is_tried_again_and_then_elsewhere() -> None:
    clock = SkippingClock()
    first, second = SeeingProvider("first"), SeeingProvider("second")
    first.always = lambda: ProviderUnavailable("down")
    provider = Resilient(first, second, clock=clock, draw=lambda most: most)

    scores = await provider.look(b"picture", JPEG)

    assert scores.provider == "second"
    assert (first.calls, second.calls) == (3, 1)
    assert clock.slept == [0.5, 1.0]


async def test_a_breaker_that_looks_have_opened_keeps_texts_away_too() -> None:
    provider = SeeingProvider()
    provider.always = lambda: ProviderUnavailable("down")
    resilient = Resilient(provider, clock=SkippingClock())
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            await resilient.look(b"picture", JPEG)
    calls = provider.calls

    with pytest.raises(ProviderUnavailable, match="is not called"):
        await resilient.moderate("text")

    assert provider.calls == calls == 5


def test_several_blind_providers_are_blind_together() -> None:
    provider = Resilient(ScriptedProvider("a"), ScriptedProvider("b"), clock=SkippingClock())

    assert seer(provider) is None


@pytest.mark.parametrize(
    "model",
    [
        *("omni-moderation-latest", "gpt-4o-mini", "openai/gpt-4.1", "gpt-5-nano", "o3"),
        *("claude-sonnet-4-5", "gemini-2.5-flash", "google/gemma-3-12b-it", "llava:13b"),
        *(
            "qwen2.5vl:7b",
            "Qwen/Qwen3-VL-8B-Instruct",
            "pixtral-12b",
            "meta-llama/Llama-Guard-4-12B",
        ),
        "llama3.2-vision",
    ],
)
def test_a_model_is_known_to_see_by_its_name(model: str) -> None:
    assert sees_by_name(model)


@pytest.mark.parametrize(
    "model",
    [
        *("text-moderation-latest", "gpt-3.5-turbo", "gpt-4", "o3-mini", "gpt-4o-audio-preview"),
        *("llama-3.1-8b-instruct", "openai/gpt-oss-safeguard-20b", "qwen3:8b", "mixtral", "stub"),
    ],
)
def test_an_unknown_model_is_taken_for_blind(model: str) -> None:
    assert not sees_by_name(model)


@pytest.mark.parametrize(
    ("query", "vision", "sees"),
    [
        ("?model=gpt-4o", None, True),
        ("?model=homemade", None, False),
        ("?model=homemade", True, True),
        ("?model=gpt-4o", False, False),
        ("?model=homemade&vision=yes", False, True),
        ("?model=gpt-4o&vision=no", None, False),
        ("?api=moderations", None, True),
        ("?api=moderations&model=text-moderation-latest", None, False),
    ],
)
def test_the_url_says_who_sees_then_the_setting_then_the_name(
    query: str, vision: bool | None, sees: bool
) -> None:
    provider = open_provider(
        f"http://127.0.0.1:9/v1{query}",
        clock=SystemClock(),
        prompt=PlainPrompt(),
        image_prompt=PlainImagePrompt(),
        vision=vision,
    )

    assert (seer(provider) is not None) == sees


def test_a_chat_model_without_a_prompt_for_images_does_not_see() -> None:
    url = "http://127.0.0.1:9/v1?model=gpt-4o"

    assert seer(open_provider(url, clock=SystemClock(), prompt=PlainPrompt())) is None


def test_another_word_for_sight_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="yes or no"):
        open_provider("http://h/v1?model=m&vision=1", clock=SystemClock(), prompt=PlainPrompt())


@APIS
async def test_an_opened_provider_looks_through_all_its_layers(
    api: str, upstream: Upstream
) -> None:
    metrics = Metrics()
    provider = open_provider(
        f"{upstream.url}?api={api}&model=stub&vision=yes",
        clock=SystemClock(),
        prompt=PlainPrompt(),
        image_prompt=PlainImagePrompt(),
        metrics=metrics,
    )
    upstream.script([throttled(0.0)])

    scores = await eyes(provider).look(encoded(plain(RED)), JPEG)
    await provider.aclose()

    assert upstream.calls == 2
    assert scores.scores
    version = "plain-image-1" if api == "chat" else "moderations"
    assert eyes(provider).sights == {"stub": version}
