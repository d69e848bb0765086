from __future__ import annotations

from typing import Any

import pytest

from penstock.clock import ManualClock
from penstock.http.request_id import RequestId
from penstock.observe import logging

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_valid_id_is_taken_over_and_sent_back(call: Any, echo: Any) -> None:
    """E-16."""
    response = await call(RequestId(echo), headers={"X-Request-ID": "job-7_a.B"})

    assert response.headers["x-request-id"] == "job-7_a.B"
    assert echo.scope["penstock"]["request_id"] == "job-7_a.B"


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "ä", 'x"y', "a/b"])
async def test_another_is_replaced(call: Any, echo: Any, given: str) -> None:
    response = await call(RequestId(echo), headers={"X-Request-ID": given.encode("latin-1")})

    made = response.headers["x-request-id"]
    assert made != given
    assert len(made) == 24


async def test_ids_differ_and_sort_by_time(call: Any, echo: Any) -> None:
    clock = ManualClock()
    app = RequestId(echo, clock=clock)
    made = []
    for _ in range(5):
        made.append((await call(app)).headers["x-request-id"])
        clock.advance(0.001)

    assert made == sorted(set(made))


async def test_the_trace_is_kept(call: Any, echo: Any) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((logging.request_id.get(), logging.trace_id.get()))
        await echo(scope, receive, send)

    await call(RequestId(app), headers={"traceparent": PARENT, "x-request-id": "r1"})

    assert seen == [("r1", "0af7651916cd43dd8448eb211c80319c")]
    assert echo.scope["penstock"]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    "parent",
    [
        PARENT.upper(),
        PARENT[:-1],
        "ff" + PARENT[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
    ],
)
async def test_a_broken_trace_is_ignored(call: Any, echo: Any, parent: str) -> None:
    await call(RequestId(echo), headers={"traceparent": parent})

    assert echo.scope["penstock"]["trace_id"] is None


async def test_the_context_is_reset_after_an_error() -> None:
    async def app(*_: Any) -> None:
        raise KeyError

    scope = {"type": "http", "headers": [(b"traceparent", PARENT.encode())]}
    with pytest.raises(KeyError):
        await RequestId(app)(scope, None, None)  # type: ignore[arg-type]

    assert (logging.request_id.get(), logging.trace_id.get()) == (None, None)


async def test_a_constant_message_is_not_changed(call: Any, echo: Any) -> None:
    app = RequestId(echo)

    await call(app)
    second = await call(app)

    assert echo.start["headers"] == []
    assert len(second.headers.get_list("x-request-id")) == 1


async def test_other_protocols_pass_through(echo: Any) -> None:
    scope = {"type": "lifespan"}

    await RequestId(echo)(scope, None, None)  # type: ignore[arg-type]

    assert echo.scope is scope
    assert "penstock" not in scope
