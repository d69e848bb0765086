from __future__ import annotations

from typing import Any

import httpx
import pytest

from penstock import errors
from penstock.http.problems import FAILURES, Problems, render
from penstock.http.request_id import RequestId
from penstock.http.timing import Timing
from penstock.observe.metrics import Metrics


class Raises:
    """Fails with an error, before, within or after its response."""

    def __init__(self, error: Exception, *, sent: int = 0) -> None:
        self.error = error
        self.sent = sent

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        messages: list[dict[str, Any]] = [
            {"type": "http.response.start", "status": 200, "headers": []},
            {"type": "http.response.body", "body": b"part", "more_body": True},
            {"type": "http.response.body", "body": b"rest"},
        ]
        for message in messages[: self.sent]:
            await send(message)
        raise self.error


async def test_an_error_becomes_a_problem_document(call: Any) -> None:
    """E-38."""
    error = errors.NotFound("no verdict 'modr-1'", id="modr-1")
    app = RequestId(Problems(Raises(error)))

    response = await call(app, "GET", "/api/results/1", headers={"x-request-id": "r-1"})

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "/docs/errors#not-found",
        "title": "Not found",
        "status": 404,
        "detail": "no verdict 'modr-1'",
        "id": "modr-1",
        "instance": "urn:penstock:request:r-1",
        "request_id": "r-1",
    }


async def test_what_failed_inside_is_logged_counted_and_not_told(
    call: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """E-18: the trace is logged, the caller gets the id only."""
    metrics = Metrics()
    app = RequestId(Problems(Raises(ValueError("secret at /srv/x")), metrics=metrics))

    response = await call(app)

    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert "secret at /srv/x" in caplog.text
    assert metrics.total(FAILURES, error="unexpected") == 1


async def test_a_fault_of_ours_is_not_told_either(
    call: Any, caplog: pytest.LogCaptureFixture
) -> None:
    error = errors.ConfigurationError("PENSTOCK_HOME=/srv/x cannot be used", path="/srv/x")

    response = await call(Problems(Raises(error)))

    assert (response.status_code, "/srv/x" in response.text) == (500, False)
    assert "/srv/x" in caplog.text


async def test_something_missing_outside_is_told(
    call: Any, caplog: pytest.LogCaptureFixture
) -> None:
    response = await call(Problems(Raises(errors.StorageFull("the disk is full: free some space"))))

    assert response.json()["detail"] == "the disk is full: free some space"
    assert "storage-full" in caplog.text


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (errors.Unauthorized(), "www-authenticate", "Bearer"),
        (errors.RateLimited(retry_after=1.2), "retry-after", "2"),
        (errors.RateLimited(retry_after=0.0), "retry-after", "1"),
        (errors.ProviderUnavailable(retry_after=30), "retry-after", "30"),
        (errors.StorageUnavailable(), "retry-after", "5"),
    ],
)
async def test_a_status_brings_its_header(
    call: Any, error: Exception, header: str, value: str
) -> None:
    response = await call(Problems(Raises(error)))

    assert response.headers[header] == value


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.InvalidInput("bad"), "invalid_request_error", "invalid_input"),
        (errors.Unauthorized(), "authentication_error", "invalid_api_key"),
        (errors.Forbidden(), "permission_error", "forbidden"),
        (errors.RateLimited(retry_after=1), "rate_limit_error", "rate_limit_exceeded"),
        (errors.ProviderTimeout(), "server_error", "provider_timeout"),
        (KeyError(), "server_error", "internal"),
    ],
)
async def test_openais_paths_also_speak_openais_words(
    call: Any, error: Exception, kind: str, code: str
) -> None:
    app = Problems(Raises(error))

    document = (await call(app, "POST", "/v1/moderations")).json()
    other = (await call(app, "POST", "/v1/moderationsx")).json()

    told = {"message": document["detail"], "type": kind, "param": None, "code": code}
    assert document["error"] == told
    assert "error" not in other


async def test_openais_param_is_the_first_field_that_is_wrong(call: Any) -> None:
    found = [{"pointer": "/input/0/text", "detail": "too long"}]
    app = Problems(Raises(errors.InvalidInput("bad", errors=found)))

    document = (await call(app, "POST", "/v1/moderations")).json()

    assert document["error"]["param"] == "input"
    assert document["errors"] == found


async def test_openais_paths_can_be_named(call: Any) -> None:
    app = Problems(Raises(errors.NotFound()), openai_paths=["/openai"])

    assert "error" in (await call(app, "GET", "/openai/v1/models")).json()
    assert "error" not in (await call(app, "GET", "/v1/moderations")).json()


async def test_what_comes_back_is_bounded_and_valid() -> None:
    huge = "x" * 10_000
    fields = {"a": huge, "b": [huge] * 500, "c": {"d": {"e": {"f": 1}}}, "n": 1 << 80, "z": None}
    error = errors.InvalidInput("\ud800" + huge, errors=[{"pointer": huge}] * 500, **fields)

    problem = render(error, {"type": "http", "path": "/"})

    assert len(problem.body) < 30_000
    problem.body.decode("utf-8")


async def test_a_field_cannot_replace_the_status() -> None:
    problem = render(errors.NotFound("gone", status=200, title="x"), {"type": "http"})

    assert b'"status":404' in problem.body


async def test_given_headers_replace_ours() -> None:
    problem = render(errors.Unauthorized(), {}, headers=[(b"www-authenticate", b"Basic")])

    assert [v for k, v in problem.headers if k == b"www-authenticate"] == [b"Basic"]


@pytest.mark.parametrize("watched", [True, False])
async def test_an_error_after_the_response_is_only_logged(
    call: Any, caplog: pytest.LogCaptureFixture, watched: bool
) -> None:
    app: Any = Problems(Raises(KeyError("late"), sent=3))
    if watched:
        app = Timing(app, metrics=Metrics())

    response = await call(app)

    assert (response.status_code, response.content) == (200, b"partrest")
    assert "late" in caplog.text


@pytest.mark.parametrize("watched", [True, False])
async def test_a_broken_response_is_cut_not_ended(
    serve: Any, caplog: pytest.LogCaptureFixture, watched: bool
) -> None:
    app: Any = Problems(Raises(KeyError("middle"), sent=2))
    if watched:
        app = Timing(app, metrics=Metrics())

    async with serve(app) as url, httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(url)

    assert "middle" in caplog.text


async def test_a_request_without_error_is_untouched(call: Any, echo: Any) -> None:
    response = await call(Problems(echo), "POST", content=b"abc")

    assert response.content == b"abc"


async def test_other_protocols_pass_through(echo: Any) -> None:
    await Problems(echo)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]

    assert echo.scope == {"type": "lifespan"}
