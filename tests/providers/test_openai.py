from __future__ import annotations

import json
import socket
import traceback
from typing import NoReturn

import openai
import pytest

from benchmarks.rigs.upstream import (
    Turn,
    Upstream,
    cut,
    declining,
    drip,
    failing,
    garbage,
    hang,
    reply,
    sending,
    throttled,
    tokens_of,
    wrong_schema,
)
from penstock.errors import (
    ProviderError,
    ProviderGarbage,
    ProviderRefused,
    ProviderThrottled,
    ProviderTimeout,
    ProviderUnavailable,
)
from penstock.observe.metrics import Metrics
from penstock.providers.openai import ChatProvider
from penstock.providers.provider import Scores
from penstock.providers.terms import Prices, Timeouts
from tests.providers.scripted import KEY, Open

APIS = pytest.mark.parametrize("api", ["chat", "moderations"])


def cut_answer(text: str) -> str:
    """A chat completion that ended because the tokens were used up."""
    choice = {"finish_reason": "length", "message": {"content": text}}
    usage = {"prompt_tokens": 10, "completion_tokens": 700}
    return json.dumps({"choices": [choice], "usage": usage})


@APIS
async def test_the_scores_of_the_upstream_arrive(api: str, remote: Open) -> None:
    scores = await remote(api).moderate("a bad text")

    assert scores.scores["harassment"] == 0.97
    assert scores.models == {"stub": "plain-1" if api == "chat" else "moderations"}


async def test_the_moderation_endpoint_leaves_out_what_it_does_not_judge(remote: Open) -> None:
    scores = await remote("moderations").moderate("swearing")

    assert len(scores.scores) == 13
    assert "profanity" not in scores.scores


async def test_a_chat_is_asked_for_strict_json_without_chance(
    remote: Open, upstream: Upstream
) -> None:
    await remote("chat").moderate("text")

    body = upstream.seen[0].body
    assert body["temperature"] == 0
    assert body["max_tokens"] <= 1000
    assert body["response_format"]["json_schema"]["strict"] is True


@APIS
@pytest.mark.parametrize("turn", [garbage(), wrong_schema()], ids=["garbage", "wrong schema"])
async def test_an_unreadable_answer_is_asked_for_once_more_and_then_an_error(
    api: str, turn: Turn, remote: Open, upstream: Upstream
) -> None:
    upstream.always(turn)

    with pytest.raises(ProviderGarbage):
        await remote(api).moderate("text")

    assert upstream.calls == 2


async def test_an_answer_that_was_cut_is_not_asked_for_again(
    remote: Open, upstream: Upstream, metrics: Metrics
) -> None:
    """A text that makes the model ramble would do so again, at the same price."""
    upstream.always(sending(cut_answer('{"scores": {"harassment"')))

    with pytest.raises(ProviderGarbage):
        await remote("chat").moderate("text")

    assert upstream.calls == 1
    assert metrics.total("penstock_provider_tokens_total", direction="out") == 700


async def test_an_answer_that_was_cut_behind_its_end_counts(
    remote: Open, upstream: Upstream
) -> None:
    upstream.always(sending(cut_answer('{"scores": {"harassment": 0.5}}' + " " * 100)))

    assert (await remote("chat").moderate("text")).scores == {"harassment": 0.5}


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("chat", '{"choices": []}'),
        ("moderations", '{"results": []}'),
        ("moderations", '{"results": [{"category_scores": {"rudeness": 0.5}}]}'),
        ("moderations", '{"results": [{"category_scores": {"hate": 1.5}}]}'),
        ("moderations", '{"results": [{"category_scores": {"hate": null}}]}'),
    ],
)
async def test_an_answer_without_scores_is_no_answer(
    api: str, body: str, remote: Open, upstream: Upstream
) -> None:
    upstream.always(sending(body))

    with pytest.raises(ProviderGarbage):
        await remote(api).moderate("text")


async def test_a_body_that_is_not_packed_as_it_says_is_unavailable(
    remote: Open, upstream: Upstream
) -> None:
    upstream.script([sending("{}", headers=(("content-encoding", "gzip"),))])

    with pytest.raises(ProviderUnavailable):
        await remote().moderate("text")


async def test_a_second_answer_that_is_readable_counts(remote: Open, upstream: Upstream) -> None:
    upstream.script([reply("I would rather not say.")])

    scores = await remote("chat").moderate("bad")

    assert scores.scores["harassment"] == 0.97
    assert upstream.calls == 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, ProviderRefused),
        (401, ProviderRefused),
        (404, ProviderRefused),
        (408, ProviderTimeout),
        (429, ProviderThrottled),
        (500, ProviderUnavailable),
        (503, ProviderUnavailable),
        (504, ProviderTimeout),
    ],
)
async def test_an_error_status_becomes_our_error_after_one_call(
    status: int, expected: type[ProviderError], remote: Open, upstream: Upstream
) -> None:
    upstream.always(failing(status))

    with pytest.raises(expected, match=f"answered {status} \\(scripted\\)"):
        await remote().moderate("text")

    assert upstream.calls == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (2, 2.0),
        ("0.5", 0.5),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),  # ten seconds after a ManualClock's start
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("soon", None),
        (None, None),
    ],
)
async def test_retry_after_is_read_as_seconds_or_date(
    value: float | str | None, seconds: float | None, remote: Open, upstream: Upstream
) -> None:
    upstream.script([throttled(value)])

    with pytest.raises(ProviderThrottled) as caught:
        await remote().moderate("text")

    assert caught.value.retry_after == seconds


async def test_openais_own_header_is_finer(remote: Open, upstream: Upstream) -> None:
    upstream.script([Turn("status", status=429, headers=(("retry-after-ms", "1500"),))])

    with pytest.raises(ProviderThrottled) as caught:
        await remote().moderate("text")

    assert caught.value.retry_after == 1.5


async def test_a_silent_upstream_ends_at_the_read_timeout(remote: Open, upstream: Upstream) -> None:
    upstream.script([hang()])

    with pytest.raises(ProviderTimeout, match="silent"):
        await remote(timeouts=Timeouts(read=0.05, total=10)).moderate("text")


async def test_an_answer_that_trickles_in_ends_at_the_total_timeout(
    remote: Open, upstream: Upstream
) -> None:
    """Every byte restarts the read time-out, so it alone would wait for ever."""
    upstream.script([drip(0.005)])

    with pytest.raises(ProviderTimeout, match=r"within 0\.05 s"):
        await remote(timeouts=Timeouts(read=10, total=0.05)).moderate("text")


async def test_a_callers_deadline_is_earlier_than_the_total(
    remote: Open, upstream: Upstream
) -> None:
    upstream.script([hang()])

    with pytest.raises(ProviderTimeout, match=r"within 0\.05 s"):
        await remote().moderate("text", deadline=0.05)


@APIS
async def test_a_connection_cut_in_the_body_is_no_answer(
    api: str, remote: Open, upstream: Upstream
) -> None:
    upstream.script([cut()])

    with pytest.raises(ProviderUnavailable):
        await remote(api).moderate("text")


async def test_a_closed_port_is_unavailable(remote: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(ProviderUnavailable, match=f"127.0.0.1:{port} cannot be reached"):
        await remote(url=f"http://127.0.0.1:{port}/v1").moderate("text")


async def test_a_model_that_declines_is_no_verdict(remote: Open, upstream: Upstream) -> None:
    upstream.script([declining()])

    with pytest.raises(ProviderRefused, match="declines"):
        await remote().moderate("text")


@pytest.mark.parametrize("status", [401, 500])
async def test_the_key_is_in_no_error_even_if_the_upstream_repeats_it(
    status: int, remote: Open, upstream: Upstream
) -> None:
    upstream.script([failing(status, text=f"Incorrect API key provided: {KEY}", code=KEY)])

    with pytest.raises(ProviderError) as caught:
        await remote().moderate("text")

    assert upstream.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in repr(caught.value.__cause__)


async def test_any_other_error_of_the_sdk_is_ours_and_keeps_the_secret(remote: Open) -> None:
    async def ask() -> NoReturn:
        raise openai.OpenAIError(f"unexpected, with {KEY}")

    provider = remote()
    assert isinstance(provider, ChatProvider)

    with pytest.raises(ProviderGarbage) as caught:
        await provider.endpoint.call(ask, read=lambda data, spent: Scores({}), deadline=None)

    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_tokens_and_money_are_counted(
    remote: Open, upstream: Upstream, metrics: Metrics
) -> None:
    prices = Prices(input_micros=1_000_000, output_micros=10_000_000, currency="EUR")

    scores = await remote(prices=prices).moderate("x" * 400)

    assert scores.tokens_in == 100
    assert scores.cost_micros == 100 + 10 * scores.tokens_out
    assert scores.currency == "EUR"
    assert metrics.total("penstock_provider_tokens_total", direction="in") == 100
    assert metrics.total("penstock_provider_cost_micros_total") == scores.cost_micros


async def test_an_answer_that_was_thrown_away_was_paid_for_too(
    remote: Open, upstream: Upstream, metrics: Metrics
) -> None:
    upstream.always(reply("no JSON"))

    with pytest.raises(ProviderGarbage):
        await remote().moderate("x" * 400)

    assert metrics.total("penstock_provider_tokens_total", direction="in") == 200
    spoken = metrics.total("penstock_provider_tokens_total", direction="out")
    assert spoken == 2 * tokens_of("no JSON")


def test_a_price_is_rounded_up() -> None:
    prices = Prices(input_micros=150_000, output_micros=600_000)

    assert prices.of(0, 0) == 0
    assert prices.of(1, 0) == 1
    assert prices.of(1_000_000, 1_000_000) == 750_000


@APIS
async def test_lone_surrogates_and_nul_reach_the_upstream_as_one_character_each(
    api: str, remote: Open, upstream: Upstream
) -> None:
    await remote(api).moderate("a\ud800b\x00c")

    body = upstream.seen[0].body
    sent = body["input"] if api == "moderations" else body["messages"][-1]["content"]
    assert sent == "a?b\x00c"
