from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from benchmarks.rigs.upstream import Turn, Upstream, cut, failing, hang, throttled
from penstock.errors import (
    ProviderError,
    ProviderGarbage,
    ProviderRefused,
    ProviderThrottled,
    ProviderTimeout,
    ProviderUnavailable,
)
from penstock.observe.metrics import Metrics
from penstock.providers.provider import Provider
from penstock.providers.resilience import Limits, Resilient
from tests.providers.scripted import Open, ScriptedProvider, SkippingClock

Wrap = Callable[..., Resilient]


@pytest.fixture
def wrap(clock: SkippingClock, metrics: Metrics) -> Wrap:
    """Resilient on a clock that skips, with no jitter unless told."""

    def make(*providers: Provider, jitter: float = 0.0, **limits: float) -> Resilient:
        return Resilient(
            *providers,
            clock=clock,
            metrics=metrics,
            limits=Limits(**limits),  # type: ignore[arg-type]
            draw=lambda most: most * jitter,
        )

    return make


# Retries


@pytest.mark.parametrize("error", [ProviderUnavailable(), ProviderTimeout(), ProviderThrottled()])
async def test_a_passing_failure_is_tried_again(
    error: ProviderError, wrap: Wrap, scripted: ScriptedProvider
) -> None:
    scripted.failures = [error]

    scores = await wrap(scripted).moderate("text")

    assert scores.scores == {"harassment": 0.5}
    assert scripted.calls == 2


@pytest.mark.parametrize("error", [ProviderRefused(), ProviderGarbage()])
async def test_what_would_fail_again_is_not_tried_again(
    error: ProviderError, wrap: Wrap, scripted: ScriptedProvider
) -> None:
    """Garbage was asked for twice by the provider already, and paid for."""
    scripted.failures = [error]

    with pytest.raises(type(error)):
        await wrap(scripted).moderate("text")

    assert scripted.calls == 1


def costly(error: ProviderError) -> ProviderError:
    """An answer that was of no use, and its price."""
    error.tokens_in, error.tokens_out, error.cost_micros = 100, 10, 7
    return error


async def test_what_failed_attempts_cost_is_part_of_the_answer_s_price(
    wrap: Wrap, scripted: ScriptedProvider
) -> None:
    free = await wrap(scripted).moderate("text")
    scripted.failures = [costly(ProviderTimeout()), costly(ProviderTimeout())]

    scores = await wrap(scripted).moderate("text")

    assert scores.tokens_in == free.tokens_in + 200
    assert scores.tokens_out == free.tokens_out + 20
    assert scores.cost_micros == free.cost_micros + 14


async def test_a_failure_tells_what_all_its_attempts_cost(
    wrap: Wrap, scripted: ScriptedProvider
) -> None:
    scripted.failures = [costly(ProviderTimeout()), costly(ProviderGarbage())]

    with pytest.raises(ProviderGarbage) as caught:
        await wrap(scripted).moderate("text")

    assert (caught.value.tokens_in, caught.value.cost_micros) == (200, 14)


async def test_waits_double_up_to_their_limit(
    wrap: Wrap, scripted: ScriptedProvider, clock: SkippingClock
) -> None:
    scripted.always = ProviderUnavailable
    resilient = wrap(scripted, jitter=1.0, retries=4, backoff=0.5, max_backoff=3.0)

    with pytest.raises(ProviderUnavailable):
        await resilient.moderate("text")

    assert clock.slept == [0.5, 1.0, 2.0, 3.0]


async def test_retry_after_is_honoured(
    wrap: Wrap, remote: Open, upstream: Upstream, clock: SkippingClock
) -> None:
    upstream.script([throttled(7)])

    scores = await wrap(remote(), jitter=1.0).moderate("bad")

    assert clock.slept == [7.5]
    assert scores.scores["harassment"] == 0.97


async def test_a_retry_after_beyond_the_deadline_fails_at_once(
    wrap: Wrap, remote: Open, upstream: Upstream, clock: SkippingClock
) -> None:
    upstream.script([throttled(7)])

    with pytest.raises(ProviderThrottled) as caught:
        await wrap(remote()).moderate("text", deadline=5.0)

    assert caught.value.retry_after == 7.0
    assert clock.slept == []
    assert upstream.calls == 1


async def test_other_calls_keep_quiet_for_as_long_as_one_was_told(
    wrap: Wrap, scripted: ScriptedProvider, clock: SkippingClock
) -> None:
    scripted.failures = [ProviderThrottled(retry_after=7.0)]
    resilient = wrap(scripted)
    with pytest.raises(ProviderThrottled):
        await resilient.moderate("text", deadline=5.0)

    with pytest.raises(ProviderThrottled, match=r"7\.0 s without calls"):
        await resilient.moderate("hurried", deadline=5.0)
    await resilient.moderate("patient")

    assert scripted.calls == 2
    assert clock.slept == [7.0]


# Faults of the upstream


@pytest.mark.parametrize("turn", [failing(500), failing(503), cut()], ids=["500", "503", "cut"])
async def test_a_fault_of_the_upstream_is_survived(
    turn: Turn, wrap: Wrap, remote: Open, upstream: Upstream
) -> None:
    upstream.script([turn, turn])

    scores = await wrap(remote()).moderate("bad")

    assert scores.scores["harassment"] == 0.97
    assert upstream.calls == 3


async def test_a_lasting_outage_is_an_error_and_never_a_score(
    wrap: Wrap, remote: Open, upstream: Upstream
) -> None:
    upstream.always(failing(500))

    with pytest.raises(ProviderUnavailable, match="answered 500"):
        await wrap(remote()).moderate("text")


async def test_a_hanging_upstream_ends_at_the_deadline(
    wrap: Wrap, remote: Open, upstream: Upstream
) -> None:
    upstream.always(hang())

    with pytest.raises(ProviderTimeout):
        await wrap(remote(), retries=0).moderate("text", deadline=0.05)


async def test_a_provider_that_ignores_the_deadline_is_cancelled(
    wrap: Wrap, scripted: ScriptedProvider
) -> None:
    scripted.gate.clear()

    with pytest.raises(ProviderTimeout, match=r"scripted did not answer within 0\.02 s"):
        await wrap(scripted, deadline=0.02, retries=0).moderate("text")

    assert scripted.open == 0


async def test_without_time_nothing_is_called(wrap: Wrap, scripted: ScriptedProvider) -> None:
    with pytest.raises(ProviderTimeout):
        await wrap(scripted).moderate("text", deadline=0.0)

    assert scripted.calls == 0


# Breaker


async def test_the_breaker_spares_a_provider_that_is_down(
    wrap: Wrap, scripted: ScriptedProvider
) -> None:
    scripted.always = ProviderUnavailable
    resilient = wrap(scripted, retries=0, breaker_failures=3)
    for _ in range(3):
        with pytest.raises(ProviderUnavailable):
            await resilient.moderate("text")

    with pytest.raises(ProviderUnavailable, match="3 calls in a row failed") as caught:
        await resilient.moderate("text")

    assert scripted.calls == 3
    assert caught.value.retry_after == 10.0
    assert resilient.states == {"scripted": "open"}


async def test_the_breaker_closes_when_the_provider_is_back(
    wrap: Wrap, scripted: ScriptedProvider, clock: SkippingClock
) -> None:
    scripted.failures = [ProviderUnavailable(), ProviderUnavailable()]
    resilient = wrap(scripted, retries=0, breaker_failures=2, breaker_cooldown=10.0)
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            await resilient.moderate("text")

    clock.advance(10.0)
    await resilient.moderate("text")

    assert resilient.states == {"scripted": "closed"}


async def test_a_breaker_that_opens_between_retries_shows_the_real_failure(
    wrap: Wrap, scripted: ScriptedProvider
) -> None:
    scripted.always = lambda: ProviderUnavailable("the real failure")

    with pytest.raises(ProviderUnavailable, match="the real failure"):
        await wrap(scripted, retries=5, breaker_failures=2).moderate("text")

    assert scripted.calls == 2


@pytest.mark.parametrize("error", [ProviderRefused, ProviderThrottled])
async def test_a_provider_that_answers_no_is_not_down(
    error: type[ProviderError], wrap: Wrap, scripted: ScriptedProvider
) -> None:
    scripted.always = error
    resilient = wrap(scripted, retries=0, breaker_failures=2)

    for _ in range(5):
        with pytest.raises(error):
            await resilient.moderate("text")

    assert resilient.states == {"scripted": "closed"}


async def test_answers_that_cannot_be_read_do_not_open_the_breaker(
    wrap: Wrap, scripted: ScriptedProvider, metrics: Metrics
) -> None:
    """A crafted text can bring them about; that must not take the provider from everybody."""
    scripted.always = ProviderGarbage
    resilient = wrap(scripted, breaker_failures=2)

    for _ in range(5):
        with pytest.raises(ProviderGarbage):
            await resilient.moderate("text")

    assert resilient.states == {"scripted": "closed"}
    assert metrics.total("penstock_provider_calls_total", outcome="garbage") == 5


async def test_an_answer_that_cannot_be_read_does_not_vouch_for_a_provider_that_fails(
    wrap: Wrap, scripted: ScriptedProvider
) -> None:
    scripted.failures = [ProviderUnavailable(), ProviderGarbage(), ProviderUnavailable()]
    resilient = wrap(scripted, retries=0, breaker_failures=2)

    for _ in range(3):
        with pytest.raises(ProviderError):
            await resilient.moderate("text")

    assert resilient.states == {"scripted": "open"}


async def test_impatient_callers_do_not_open_the_breaker(
    wrap: Wrap, scripted: ScriptedProvider
) -> None:
    scripted.always = ProviderTimeout
    resilient = wrap(scripted, retries=0, breaker_failures=1, patience=5.0)

    with pytest.raises(ProviderTimeout):
        await resilient.moderate("text", deadline=1.0)

    assert resilient.states == {"scripted": "closed"}


async def test_a_probe_that_is_cancelled_leaves_room_for_the_next(
    wrap: Wrap, scripted: ScriptedProvider, clock: SkippingClock
) -> None:
    scripted.failures = [ProviderUnavailable()]
    resilient = wrap(scripted, retries=0, breaker_failures=1)
    with pytest.raises(ProviderUnavailable):
        await resilient.moderate("text")
    clock.advance(10.0)
    scripted.gate.clear()
    probe = asyncio.ensure_future(resilient.moderate("text"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    scripted.gate.set()
    await resilient.moderate("text")

    assert resilient.states == {"scripted": "closed"}


# Concurrency


async def test_no_more_calls_go_out_than_the_limit(wrap: Wrap, scripted: ScriptedProvider) -> None:
    resilient = wrap(scripted, concurrency=4)

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(resilient.moderate("text"))

    assert scripted.calls == 20
    assert scripted.most_at_once <= 4


async def test_a_429_halves_the_calls_at_once_and_successes_bring_them_back(
    wrap: Wrap, scripted: ScriptedProvider, metrics: Metrics
) -> None:
    gauge = "penstock_provider_concurrency_limit"
    scripted.failures = [ProviderThrottled()]
    resilient = wrap(scripted, concurrency=4)

    await resilient.moderate("text")
    shrunk = metrics.total(gauge)
    for _ in range(8):
        scripted.gate.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(resilient.moderate("text"))
            await asyncio.sleep(0)
            scripted.gate.set()

    assert shrunk == 2
    assert metrics.total(gauge) == 4


async def test_a_turn_is_waited_for_no_longer_than_the_deadline(
    wrap: Wrap, scripted: ScriptedProvider
) -> None:
    scripted.gate.clear()
    resilient = wrap(scripted, concurrency=1)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(resilient.moderate("text"))
        await asyncio.sleep(0)
        with pytest.raises(ProviderTimeout, match="1 calls at once"):
            await resilient.moderate("text", deadline=0.01)
        scripted.gate.set()

    assert scripted.calls == 1
    assert first.result().scores


async def test_too_many_waiters_are_refused_at_once(
    wrap: Wrap, scripted: ScriptedProvider, clock: SkippingClock
) -> None:
    scripted.gate.clear()
    resilient = wrap(scripted, concurrency=1, max_waiting=1)

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(resilient.moderate("text"))
        await asyncio.sleep(0)
        with pytest.raises(ProviderThrottled, match="wait for the provider"):
            await resilient.moderate("text")
        scripted.gate.set()

    assert clock.slept == []


async def test_a_call_whose_turn_comes_when_the_breaker_is_open_does_not_go_out(
    wrap: Wrap, scripted: ScriptedProvider
) -> None:
    scripted.always = ProviderUnavailable
    scripted.gate.clear()
    resilient = wrap(scripted, concurrency=1, retries=0, breaker_failures=1)

    calls = [asyncio.ensure_future(resilient.moderate("text")) for _ in range(3)]
    await asyncio.sleep(0)
    scripted.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert scripted.calls == 1
    assert all(isinstance(outcome, ProviderUnavailable) for outcome in outcomes)


async def test_those_in_the_queue_keep_quiet_too(
    wrap: Wrap, scripted: ScriptedProvider, clock: SkippingClock
) -> None:
    scripted.failures = [ProviderThrottled(retry_after=5.0)]
    scripted.gate.clear()
    resilient = wrap(scripted, concurrency=1, retries=0)

    first, second = (asyncio.ensure_future(resilient.moderate("text")) for _ in range(2))
    await asyncio.sleep(0)
    scripted.gate.set()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)

    assert isinstance(outcomes[0], ProviderThrottled)
    assert clock.slept == [5.0]
    assert scripted.calls == 2


# Fallback and accounts


async def test_the_next_provider_answers_when_the_first_cannot(wrap: Wrap) -> None:
    first, second = ScriptedProvider("first"), ScriptedProvider("second")
    first.always = ProviderUnavailable

    scores = await wrap(first, second, retries=1).moderate("text")

    assert (first.calls, second.calls) == (2, 1)
    assert scores.provider == "second"
    assert scores.models == second.models


async def test_a_first_provider_that_hangs_leaves_time_for_the_second(
    wrap: Wrap,
) -> None:
    first, second = ScriptedProvider("first"), ScriptedProvider("second")
    first.gate.clear()

    scores = await wrap(first, second).moderate("text", deadline=0.05)

    assert scores.provider == "second"


async def test_when_all_fail_the_first_failure_is_shown(wrap: Wrap) -> None:
    first, second = ScriptedProvider("first"), ScriptedProvider("second")
    first.always = lambda: ProviderRefused("wrong key")
    second.always = ProviderUnavailable

    with pytest.raises(ProviderRefused, match="wrong key"):
        await wrap(first, second, retries=0).moderate("text")


async def test_the_key_of_a_cached_answer_names_the_models_of_all(wrap: Wrap) -> None:
    resilient = wrap(ScriptedProvider("first"), ScriptedProvider("second"))

    assert resilient.name == "first"
    assert resilient.models == {"model-of-first": "1", "model-of-second": "1"}


async def test_closing_closes_all(wrap: Wrap) -> None:
    first, second = ScriptedProvider("first"), ScriptedProvider("second")

    await wrap(first, second).aclose()

    assert first.closed
    assert second.closed


async def test_calls_are_counted_by_their_outcome(
    wrap: Wrap, scripted: ScriptedProvider, metrics: Metrics
) -> None:
    scripted.failures = [ProviderTimeout(), ProviderThrottled()]

    await wrap(scripted).moderate("text")
    with pytest.raises(ProviderTimeout):
        await wrap(scripted).moderate("text", deadline=0.0)

    calls = "penstock_provider_calls_total"
    outcomes = ("ok", "timeout", "throttled", "not_called")
    assert [metrics.total(calls, provider="scripted", outcome=each) for each in outcomes] == [1] * 4
    assert metrics.total("penstock_provider_seconds") == 3


async def test_a_defect_is_passed_on_and_counted(
    wrap: Wrap, scripted: ScriptedProvider, metrics: Metrics
) -> None:
    scripted.failures = [ZeroDivisionError()]

    with pytest.raises(ZeroDivisionError):
        await wrap(scripted).moderate("text")

    assert metrics.total("penstock_provider_calls_total", outcome="error") == 1
