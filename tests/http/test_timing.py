from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from penstock.clock import ManualClock
from penstock.http.request_id import RequestId
from penstock.http.timing import ACTIVE, DURATION, REQUESTS, Timing
from penstock.observe import logging
from penstock.observe.metrics import Metrics


class Slow:
    """Answers in two parts and works on afterwards, on a clock that is moved by hand."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        scope["penstock"]["stages"]["cache"] = 0.00002
        self.clock.advance(0.25)
        await send({"type": "http.response.start", "status": 201})
        self.clock.advance(0.25)
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        self.clock.advance(0.5)
        await send({"type": "http.response.body", "body": b"b"})
        self.clock.advance(9)


async def test_the_caller_is_told_the_time_in_headers(
    call: Any, clock: ManualClock, metrics: Metrics
) -> None:
    """E-13."""
    app = Timing(Slow(clock), metrics=metrics, clock=clock)

    response = await call(app)

    assert response.headers["server-timing"] == "cache;dur=0.020, total;dur=250.000"
    assert response.headers["x-response-time"] == "250.000ms"


async def test_a_request_ends_with_its_last_byte(
    call: Any, clock: ManualClock, metrics: Metrics
) -> None:
    await call(Timing(Slow(clock), metrics=metrics, clock=clock), "POST", "/x")

    labels = {"method": "POST", "route": "", "status": "201"}
    assert metrics.summary(DURATION, **labels).max == 1.0
    assert metrics.total(REQUESTS, **labels) == 1


async def test_requests_in_flight_are_counted(call: Any, echo: Any, metrics: Metrics) -> None:
    during = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        during.append(metrics.total(ACTIVE))
        await echo(scope, receive, send)

    await call(Timing(app, metrics=metrics))

    assert (during, metrics.total(ACTIVE)) == ([1], 0)


async def test_an_error_that_nobody_answered_counts_as_500(call: Any, metrics: Metrics) -> None:
    async def app(*_: Any) -> None:
        raise KeyError

    await call(Timing(app, metrics=metrics))

    assert metrics.total(REQUESTS, status="500") == 1
    assert metrics.total(ACTIVE) == 0


async def test_a_caller_that_left_before_the_answer_counts_as_499(
    call: Any, metrics: Metrics
) -> None:
    async def app(*_: Any) -> None:
        return

    with pytest.raises(AssertionError):  # httpx misses the response as well
        await call(Timing(app, metrics=metrics))

    assert metrics.total(REQUESTS, status="499") == 1


async def test_invented_methods_share_a_label(call: Any, echo: Any, metrics: Metrics) -> None:
    app = Timing(echo, metrics=metrics)

    for number in range(3):
        await call(app, f"BREW{number}")

    assert metrics.total(REQUESTS, method="_OTHER") == 3


def routed() -> FastAPI:
    app, inner, sub = FastAPI(), APIRouter(prefix="/items"), FastAPI()

    @inner.get("/{item}")
    async def read(item: int) -> int:
        return item

    app.include_router(inner, prefix="/v1")
    sub.include_router(inner)
    app.mount("/sub", sub)
    return app


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/items/3", "/v1/items/{item}"),
        ("/v1/items/none", "/v1/items/{item}"),
        ("/sub/items/3", "/sub/items/{item}"),
        ("/sub/nothing", ""),
        ("/nothing/3", ""),
    ],
)
async def test_the_label_is_the_routes_template(
    call: Any, metrics: Metrics, path: str, route: str
) -> None:
    """FastAPI leaves the prefix of an included router out of `route.path`."""
    await call(Timing(routed(), metrics=metrics), "GET", path)

    assert metrics.total(REQUESTS, route=route) == 1


@pytest.mark.parametrize(
    ("path", "route"), [("/a/b/7", "/a/b/{x}"), ("/a/c", "/a"), ("/d/7", "/d/{x}"), ("/e", "")]
)
async def test_the_routes_of_starlette_are_known_too(
    call: Any, metrics: Metrics, path: str, route: str
) -> None:
    async def end(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("x")

    app = Starlette(routes=[Mount("/a", routes=[Route("/b/{x}", end)]), Route("/d/{x}", end)])
    await call(Timing(app, metrics=metrics), "GET", path)

    assert metrics.total(REQUESTS, route=route) == 1


async def test_a_root_path_of_the_server_is_not_part_of_the_label(metrics: Metrics) -> None:
    transport = httpx.ASGITransport(Timing(routed(), metrics=metrics), root_path="/api")
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.get("/api/sub/items/3")

    assert metrics.total(REQUESTS, route="/sub/items/{item}") == 1


async def test_an_endpoint_without_a_router_names_its_route(
    call: Any, echo: Any, metrics: Metrics
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["penstock"]["route"] = "/v1/moderations"
        await echo(scope, receive, send)

    await call(RequestId(Timing(app, metrics=metrics)))

    assert metrics.total(REQUESTS, route="/v1/moderations") == 1


async def test_labels_beyond_the_cap_are_not_kept(call: Any) -> None:
    metrics = Metrics(series_cap=2)

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        scope["penstock"]["route"] = scope["path"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    timing = Timing(app, metrics=metrics)
    for number in range(5):
        await call(timing, "GET", f"/{number}")

    assert metrics.total(REQUESTS, route="overflow") == 3
    assert len(timing._bound) == 2


async def test_a_failure_is_logged_with_the_id(
    call: Any, metrics: Metrics, capsys: pytest.CaptureFixture[str]
) -> None:
    """E-17: one line per request that failed; the others at debug."""

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        status = 503 if scope["path"] == "/bad" else 200
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body"})

    logging.configure("info", format="json")
    try:
        timing = RequestId(Timing(app, metrics=metrics))
        await call(timing, "GET", "/good", headers={"x-request-id": "one"})
        await call(timing, "GET", "/bad", headers={"x-request-id": "two"})
    finally:
        logging.shutdown()

    told = capsys.readouterr().err
    assert re.search(r'"event":"http.request".*"status":503.*"request_id":"two"', told)
    assert '"one"' not in told


async def test_at_debug_every_request_has_a_line(
    call: Any, echo: Any, metrics: Metrics, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.configure("debug", format="json")
    try:
        await call(RequestId(Timing(echo, metrics=metrics)), headers={"x-request-id": "one"})
    finally:
        logging.configure("info")
        logging.shutdown()

    assert '"request_id":"one"' in capsys.readouterr().err


async def test_other_protocols_pass_through(echo: Any, metrics: Metrics) -> None:
    await Timing(echo, metrics=metrics)({"type": "websocket"}, None, None)  # type: ignore[arg-type]

    assert echo.scope == {"type": "websocket"}
