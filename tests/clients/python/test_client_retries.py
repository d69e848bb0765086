"""What is tried again, when, and under which key."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import penstock_client
import pytest
from penstock_client import Penstock


async def test_two_failures_and_an_answer_are_one_result(call: Any, stub: Any, times: Any) -> None:
    stub.problem(503)
    stub.problem(503)

    result = await call("moderate_content", "Have a lovely day.")

    assert result.final_decision == "A"
    assert len({seen.headers["idempotency-key"] for seen in stub.requests}) == 1
    assert [seen.body for seen in stub.requests] == [{"content": "Have a lovely day."}] * 3
    assert times.waits == [0.5, 1.0]


async def test_another_call_has_another_key(call: Any, stub: Any) -> None:
    await call("moderate_content", "a")
    await call("moderate_content", "a")

    first, second = (seen.headers["idempotency-key"] for seen in stub.requests)
    assert first != second


async def test_a_refused_key_is_not_tried_again(call: Any, stub: Any, times: Any) -> None:
    stub.problem(401, "unauthorized")

    with pytest.raises(penstock_client.AuthenticationError):
        await call("moderate_content", "a")

    assert len(stub.requests) == 1
    assert not times.waits


@pytest.mark.parametrize("status", [408, 429, 500, 502, 504, 507])
async def test_what_may_pass_is_tried_again(
    status: int, penstock: Penstock, stub: Any, times: Any
) -> None:
    stub.problem(status)

    penstock.moderate_content("a")

    assert len(stub.requests) == 2


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422])
async def test_what_lasts_is_not(status: int, penstock: Penstock, stub: Any) -> None:
    stub.problem(status)

    with pytest.raises(penstock_client.APIError):
        penstock.moderate_content("a")

    assert len(stub.requests) == 1


def test_a_conflict_that_names_a_time_is_tried_then(
    penstock: Penstock, stub: Any, times: Any
) -> None:
    stub.problem(409, retry_after="3")

    penstock.moderate_content("a")

    assert times.waits == [3.0]


async def test_retry_after_is_honoured(call: Any, stub: Any, times: Any) -> None:
    stub.problem(429, retry_after="7")
    stub.problem(503, retry_after=formatdate(times.now() + 7 + 11, usegmt=True))

    await call("moderate_content", "a")

    assert times.waits == [7.0, 11.0]


@pytest.mark.parametrize(
    ("asked", "waited"),
    [("3600", 60.0), ("-5", 0.0), ("soon", 0.5), ("nan", 0.5), ("Mon, 99 Foo 2026", 0.5)],
)
def test_a_strange_retry_after_is_no_obstacle(
    asked: str, waited: float, penstock: Penstock, stub: Any, times: Any
) -> None:
    stub.problem(503, retry_after=asked)

    penstock.moderate_content("a")

    assert times.waits == [waited]


def test_waits_double_to_eight_seconds_less_what_chance_takes_off(stub: Any, times: Any) -> None:
    times.chance = 1.0
    for _ in range(6):
        stub.problem(500)

    with Penstock(base_url=stub.url, max_retries=6, clock=times) as client:
        client.moderate_content("a")

    assert times.waits == [0.375, 0.75, 1.5, 3.0, 6.0, 6.0]


async def test_a_cut_connection_is_tried_again(call: Any, stub: Any) -> None:
    stub.cut()

    result = await call("moderate_content", "a")

    assert result.final_decision == "A"
    assert len(stub.requests) == 2


async def test_a_server_that_is_not_there_is_a_connection_error(
    call: Any, stub: Any, times: Any
) -> None:
    for _ in range(3):
        stub.cut()

    with pytest.raises(penstock_client.ConnectionError, match=stub.url) as caught:
        await call("moderate_content", "a")

    assert isinstance(caught.value, ConnectionError)
    assert caught.value.__cause__ is not None
    assert len(times.waits) == 2


async def test_no_answer_in_time_is_a_timeout(call: Any, stub: Any) -> None:
    stub.hold()

    with pytest.raises(penstock_client.TimeoutError) as caught:
        await call("moderate_content", "a", timeout=0.05, max_retries=0)

    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, penstock_client.ConnectionError)


async def test_a_call_has_its_own_options(call: Any, stub: Any) -> None:
    stub.problem(503)

    with pytest.raises(penstock_client.ServerError):
        await call(
            "moderate_content", "a", max_retries=0, idempotency_key="mine", headers={"X-Team": "a"}
        )

    (seen,) = stub.requests
    assert seen.headers["idempotency-key"] == "mine"
    assert seen.headers["x-team"] == "a"


@pytest.mark.parametrize("options", [{"retries": 1}, {"timeout": 0}, {"max_retries": -1}])
def test_an_option_that_is_none_is_refused(
    options: dict[str, Any], penstock: Penstock, stub: Any
) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        penstock.moderate_content("a", **options)

    assert not stub.requests
